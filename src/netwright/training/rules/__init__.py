"""Rules of training, one a file: which sub-networks learn from a batch, and from whom."""

from __future__ import annotations

from ...core.errors import RecipeError
from ...core.registry import Registry
from ..lesson import Lesson
from ..steps import Step
from .attentive import Attentive
from .base import Rule
from .complexity_aware import ComplexityAware
from .delayed_shrinking import DelayedShrinking
from .fair import Fair
from .largest import Largest
from .path_data import PathData
from .probability_shift import ProbabilityShift
from .progressive import Progressive
from .sandwich import Sandwich
from .single_path import SinglePath
from .sorted import Sorted

__all__ = [
    "Attentive",
    "ComplexityAware",
    "DelayedShrinking",
    "Fair",
    "Largest",
    "Lesson",
    "PathData",
    "ProbabilityShift",
    "Progressive",
    "Rule",
    "Sandwich",
    "SinglePath",
    "Sorted",
    "Step",
]

RULES: Registry[Rule] = Registry(
    "rule",
    Rule,
    __name__,
    {
        "sandwich": "sandwich:Sandwich",
        "single-path": "single_path:SinglePath",
        "fair": "fair:Fair",
        "progressive": "progressive:Progressive",
        "delayed-shrinking": "delayed_shrinking:DelayedShrinking",
        "attentive": "attentive:Attentive",
        "complexity-aware": "complexity_aware:ComplexityAware",
        "probability-shift": "probability_shift:ProbabilityShift",
        "path-data": "path_data:PathData",
        "sorted": "sorted:Sorted",
        "largest": "largest:Largest",
    },
    error=RecipeError,
)
"""Every rule by its name."""
