"""Rules of training, one a file: which sub-networks learn from a batch, and from whom."""

from __future__ import annotations

from ...core.errors import RecipeError
from ...core.registry import Registry
from ..lesson import Lesson
from ..steps import Step
from .attentive import Attentive
from .base import Rule
from .fair import Fair
from .largest import Largest
from .progressive import Progressive
from .sandwich import Sandwich
from .single_path import SinglePath

__all__ = ["Attentive", "Fair", "Largest", "Lesson", "Progressive", "Rule", "Sandwich", "SinglePath", "Step"]

RULES: Registry[Rule] = Registry(
    "rule",
    Rule,
    __name__,
    {
        "sandwich": "sandwich:Sandwich",
        "single-path": "single_path:SinglePath",
        "fair": "fair:Fair",
        "progressive": "progressive:Progressive",
        "attentive": "attentive:Attentive",
        "largest": "largest:Largest",
    },
    error=RecipeError,
)
"""Every rule by its name."""
