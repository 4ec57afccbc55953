"""The recipe: one dataclass tree, and how it is read."""
