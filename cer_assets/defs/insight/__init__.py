"""What joins several stages: what resolution buys, and the snapshot that people read."""
