"""Groups of customers alike, by behaviour and by preference."""
