"""The registry of rules, which those that go on with another rule read as well."""

from __future__ import annotations

from ...core.errors import RecipeError
from ...core.registry import Registry
from .base import Rule

RULES: Registry[Rule] = Registry(
    "rule",
    Rule,
    __name__.rpartition(".")[0],
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
        "few-shot": "few_shot:FewShot",
        "mixture": "mixture:Mixture",
        "blockwise": "blockwise:Blockwise",
        "largest": "largest:Largest",
    },
    error=RecipeError,
)
"""Every rule by its name."""
