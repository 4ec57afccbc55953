"""Samplings, one a file: which sub-network is drawn where a rule wants a random one."""

from __future__ import annotations

from ...core.errors import RecipeError
from ...core.registry import Registry
from .base import Sampling
from .cost import Cost
from .descending import Descending
from .shrinking import Shrinking
from .uniform import Uniform

__all__ = ["Cost", "Descending", "Sampling", "Shrinking", "Uniform"]

SAMPLINGS: Registry[Sampling] = Registry(
    "sampling",
    Sampling,
    __name__,
    {
        "uniform": "uniform:Uniform",
        "cost": "cost:Cost",
        "descending": "descending:Descending",
        "shrinking": "shrinking:Shrinking",
    },
    error=RecipeError,
)
"""Every sampling by its name."""
