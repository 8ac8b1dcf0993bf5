"""Dagster's face: what depends on what, when it runs, what is shown and checked; no algorithm lives here."""
