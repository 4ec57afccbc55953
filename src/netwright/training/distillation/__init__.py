"""Distillations, one a file: how a network learns from the answer of another."""

from __future__ import annotations

from ...core.errors import RecipeError
from ...core.registry import Registry
from .base import Distillation
from .outputs import Outputs

__all__ = ["Distillation", "Outputs"]

DISTILLATIONS: Registry[Distillation] = Registry(
    "distillation", Distillation, __name__, {"outputs": "outputs:Outputs"}, error=RecipeError
)
"""Every distillation by its name."""
