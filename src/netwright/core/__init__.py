"""The nouns of netwright: spaces, candidates, metrics, records, fronts. Standard library and NumPy only."""
