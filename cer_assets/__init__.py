"""A retailer's drops become people, people become value and segments, and those become recommendations."""
