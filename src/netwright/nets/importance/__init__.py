"""Importance of channels: by which criterion they are sorted, one per file, and what is kept within a budget."""

from .activation import Activation
from .base import CRITERIA, Criterion
from .magnitude import L1, L2
from .prune import prune_to_budget
from .sort import Importance, importance_of, sort_channels
from .taylor import Taylor
from .trajectory import Trajectory

__all__ = [
    "CRITERIA",
    "L1",
    "L2",
    "Activation",
    "Criterion",
    "Importance",
    "Taylor",
    "Trajectory",
    "importance_of",
    "prune_to_budget",
    "sort_channels",
]
