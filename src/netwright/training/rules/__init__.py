"""Rules of training, one a file: which sub-networks learn from a batch, and from whom."""

from __future__ import annotations

from ...core.errors import RecipeError
from ...core.registry import Registry
from .base import Rule, Step
from .largest import Largest
from .sandwich import Sandwich
from .single import SinglePath

__all__ = ["Largest", "Rule", "Sandwich", "SinglePath", "Step"]

RULES: Registry[Rule] = Registry(
    "rule",
    Rule,
    __name__,
    {"sandwich": "sandwich:Sandwich", "largest": "largest:Largest", "single": "single:SinglePath"},
    error=RecipeError,
)
"""Every rule by its name."""
