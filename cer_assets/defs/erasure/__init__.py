"""Forgetting who asked for it: the suppression list, what is removed, the receipts."""
