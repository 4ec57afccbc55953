"""Rules of training, one a file: which sub-networks learn from a batch, and from whom."""

from __future__ import annotations

from ..lesson import Lesson
from ..steps import Step
from .attentive import Attentive
from .base import Rule
from .blockwise import Blockwise
from .complexity_aware import ComplexityAware
from .delayed_shrinking import DelayedShrinking
from .fair import Fair
from .few_shot import FewShot
from .largest import Largest
from .mixture import Mixture
from .path_data import PathData
from .probability_shift import ProbabilityShift
from .progressive import Progressive
from .registry import RULES as RULES
from .sandwich import Sandwich
from .single_path import SinglePath
from .sorted import Sorted

__all__ = [
    "Attentive",
    "Blockwise",
    "ComplexityAware",
    "DelayedShrinking",
    "Fair",
    "FewShot",
    "Largest",
    "Lesson",
    "Mixture",
    "PathData",
    "ProbabilityShift",
    "Progressive",
    "Rule",
    "Sandwich",
    "SinglePath",
    "Sorted",
    "Step",
]
