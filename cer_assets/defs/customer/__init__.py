"""Purchases under the people who made them."""
