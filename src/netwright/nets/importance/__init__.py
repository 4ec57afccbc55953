"""Importance of channels: by which criterion they are sorted, one per file, and what is kept within a budget."""

from ...core.errors import NetError
from ...core.registry import Registry
from .activation import Activation
from .base import Criterion
from .magnitude import L1, L2
from .prune import prune_to_budget
from .sort import sort_channels
from .taylor import Taylor

CRITERIA: Registry[Criterion] = Registry(
    "importance criterion",
    Criterion,
    __name__,
    {"l1": "magnitude:L1", "l2": "magnitude:L2", "activation": "activation:Activation", "taylor": "taylor:Taylor"},
    error=NetError,
    plural="importance_criteria",
)

__all__ = ["CRITERIA", "L1", "L2", "Activation", "Criterion", "Taylor", "prune_to_budget", "sort_channels"]
