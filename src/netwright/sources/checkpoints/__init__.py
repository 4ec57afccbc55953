"""Pre-trained models by name: one kind of checkpoint per file."""

from __future__ import annotations

import re
from pathlib import Path

from ...core.errors import RecipeError
from ...core.registry import Registry, split
from .base import Checkpoint

CHECKPOINTS: Registry[Checkpoint] = Registry(
    "checkpoint",
    Checkpoint,
    __name__,
    {"timm": "timm:Timm", "weights": "weights:Weights", "transformers": "transformers:Transformers"},
    error=RecipeError,
)
"""The kinds of checkpoints; the first that reads a path is taken, those of installed packages before these."""

FORMS = (
    "a directory of a pre-trained model (with config.json and model.safetensors), the id of one on the hub (org/name), "
    "timm/NAME, or module:function"
)
"""What a recipe's model may be."""


def checkpoint_of(reference: str, folder: str | None = None) -> Checkpoint | None:
    """The checkpoint that a recipe's ``model`` names; None where it is ``module:function`` alone, which is code.

    Args:
        reference: what it is, with settings: ``models/minilm,length=64``.
        folder: that a relative path starts from, where the recipe lies.

    Raises :class:`RecipeError` where there is no such thing.
    """
    name, *settings = split(reference)
    name = name.strip()
    path = Path(folder or ".") / name
    if ":" in name and not settings and not path.exists():
        return None
    place = str(path) if path.exists() else name
    for kind in sorted(CHECKPOINTS.names(), key=CHECKPOINTS.is_ours):  # an id on the hub may look like anything
        cls = CHECKPOINTS.cls(kind)
        if cls.reads(place):  # type: ignore[attr-defined]
            return CHECKPOINTS.make(",".join([kind, *settings]), path=place, folder=folder or ".")
    if path.exists():
        raise RecipeError(f"model: {path} is no pre-trained model: give {FORMS}")
    close = " (a local path that does not exist?)" if re.search(r"[/\\.]", name) else ""
    raise RecipeError(f"model: there is nothing of the name {name!r}{close}: give {FORMS}")
