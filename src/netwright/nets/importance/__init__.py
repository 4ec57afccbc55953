"""Importance of channels: by which criterion they are sorted, one per file, and what is kept within a budget."""

from .activation import Activation
from .base import CRITERIA, Criterion
from .magnitude import L1, L2
from .prune import prune_to_budget
from .sort import sort_channels
from .taylor import Taylor

__all__ = ["CRITERIA", "L1", "L2", "Activation", "Criterion", "Taylor", "prune_to_budget", "sort_channels"]
