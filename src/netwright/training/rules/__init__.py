"""Rules of training, one a file: which sub-networks learn from a batch, and from whom."""

from __future__ import annotations

from ...core.errors import RecipeError
from ...core.registry import Registry
from ..lesson import Lesson
from ..steps import Step
from .base import Rule
from .largest import Largest
from .sandwich import Sandwich
from .single_path import SinglePath

__all__ = ["Largest", "Lesson", "Rule", "Sandwich", "SinglePath", "Step"]

RULES: Registry[Rule] = Registry(
    "rule",
    Rule,
    __name__,
    {"sandwich": "sandwich:Sandwich", "largest": "largest:Largest", "single-path": "single_path:SinglePath"},
    error=RecipeError,
)
"""Every rule by its name."""
