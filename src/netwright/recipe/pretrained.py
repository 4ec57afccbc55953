"""What a recipe has by default where its model is a checkpoint: what is right for fine-tuning is little training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.registry import split

DEFAULTS: Mapping[str, Any] = {
    "train": {"epochs": 5, "batch_size": 16, "schedule": "cosine,warmup=0.1", "clip_norm": 1.0},
    "export": {"epochs": 2},
}
"""Keys of a recipe that are others than those of a model that is made by code."""

IMPORTANCE = "taylor"
"""By what heads and channels are sorted before training, where there are data to judge on."""


def is_checkpoint(model: Any) -> bool:
    """Whether a recipe's ``model`` names a pre-trained model, and is not ``module:function`` alone."""
    if not isinstance(model, str) or not model.strip():
        return False
    name, *settings = split(model)
    return ":" not in name or bool(settings)


def with_defaults(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The keys of a recipe, with those that a checkpoint has by default where they are not given."""
    if not is_checkpoint(values.get("model")):
        return values
    found = dict(values)
    importance = {"importance": IMPORTANCE} if values.get("data") else {}
    for key, own in {**DEFAULTS, "train": {**DEFAULTS["train"], **importance}}.items():
        given = values.get(key, {})
        if isinstance(given, Mapping):  # whatever else it is, is told where it is read
            found[key] = {**own, **given}
    return found
