"""What was delivered: a folder per feed, whose `defs.yaml` says how its drops look."""
