"""Who is who: records made comparable, answers about pairs, the model they teach, people with ids that stay."""
