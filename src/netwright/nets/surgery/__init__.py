"""Surgery: what is taken out of a network, or made anew of its weights, one kind per file."""

from .foldable_norm import to_foldable_norm
from .order import part_importance, sort_parts

__all__ = ["part_importance", "sort_parts", "to_foldable_norm"]
