"""The registry of ranges."""

from __future__ import annotations

from ..errors import NetError
from ..registry import Registry
from .base import Ranges

RANGES: Registry[Ranges] = Registry(
    "range of activations",
    Ranges,
    __name__.rpartition(".")[0],
    {
        "minmax": "minmax:MinMax",
        "percentile": "percentile:Percentile",
        "entropy": "entropy:Entropy",
        "mse": "mse:Mse",
    },
    error=NetError,
    plural="ranges",
)
"""Every way to find the range of an activation by its name."""
