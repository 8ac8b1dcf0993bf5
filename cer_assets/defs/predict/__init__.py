"""What customers will do next, as a calibrated probability."""
