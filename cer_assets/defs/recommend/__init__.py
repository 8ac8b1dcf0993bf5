"""What to show whom, why, and how well that would have worked."""
