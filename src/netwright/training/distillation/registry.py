"""The registry of distillations, which those that stand beside others read as well."""

from __future__ import annotations

from ...core.errors import RecipeError
from ...core.registry import Registry
from .base import Distillation

DISTILLATIONS: Registry[Distillation] = Registry(
    "distillation",
    Distillation,
    __name__.rpartition(".")[0],
    {
        "outputs": "outputs:Outputs",
        "kl": "kl:Kl",
        "alpha": "alpha:Alpha",
        "features": "features:Features",
        "attention": "attention:Attention",
        "relational": "relational:Relational",
    },
    error=RecipeError,
)
"""Every distillation by its name."""
