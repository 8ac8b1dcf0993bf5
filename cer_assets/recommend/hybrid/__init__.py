"""The ranking over every family: candidates, what is known of each pair, the learned ranker, and the plain blend."""
