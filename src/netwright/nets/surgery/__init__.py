"""Surgery: what is taken out of a network, or made anew of its weights, one kind per file."""

from .order import part_importance, sort_parts

__all__ = ["part_importance", "sort_parts"]
