"""What customers are worth, as of a day."""
