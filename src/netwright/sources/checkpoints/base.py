"""What a checkpoint is: a pre-trained model by the name of a directory, a file or a model of a library."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...core.errors import RecipeError
from ...core.files import open_regular
from ...tasks.base import Task
from ...tasks.classification import Classification
from ...tasks.data import Data, Split, loader_of
from ...tasks.files.preparation import Preparation
from ...tasks.multilabel import MultiLabel
from ...tasks.regression import Regression
from ...tasks.token_classification import TokenClassification

if TYPE_CHECKING:
    from ..base import Source


class Checkpoint(ABC):
    """A pre-trained model. It is made with ``path``, what stands before the settings in a recipe's ``model``; further
    settings are fields of its own."""

    path: str

    @classmethod
    @abstractmethod
    def reads(cls, path: str) -> bool:
        """Whether a path or a name is of this kind; looks at no more than names and small files."""

    @abstractmethod
    def preparation(self, task: Task) -> Preparation:
        """What it wants files of data to be made into. Raises :class:`RecipeError` for a task that it cannot do."""

    @abstractmethod
    def source(self, task: Task, data: Data | None) -> Source:
        """The super-network, with a head for the task and the classes of the data.

        Raises :class:`RecipeError` for a checkpoint that cannot be read, or whose head the data do not fit.
        """


def outputs_for(task: Task, data: Data | None) -> int:
    """How many values a head gives for the data's targets; 0 where nothing says it.

    Raises :class:`RecipeError` for a task with heads of another kind.
    """
    if not isinstance(task, Classification | TokenClassification | Regression | MultiLabel):
        return 0
    if data is None:
        return 0
    if data.classes:
        return len(data.classes)
    if not isinstance(data.train, Split):
        raise RecipeError("model: how many classes there are is not known: give netwright.Data(..., classes=(...))")
    targets = data.train.targets
    if isinstance(task, Regression | MultiLabel):
        return 1 if targets.dim() == 1 else int(targets.shape[1])
    every = (part.targets for part in (data.train, data.validation, data.test) if isinstance(part, Split))
    return max(int(part.max()) for part in every) + 1


def image_of(task: Task, data: Data | None, images: Mapping[str, Any]) -> Tensor:
    """What counts and latencies are of: an image as the data have them, else one of the size of a model's training.

    Args:
        task: what the model is for.
        data: what it learns from.
        images: ``channels`` and ``size`` of its training.
    """
    if data is not None:
        found: Tensor = task.split(next(iter(loader_of(data.validation, 1))))[0][:1]
        return found
    return torch.zeros(1, images["channels"], images["size"], images["size"])


ENDS = 1 << 20
"""Bytes at either end of a file of weights that tell it from another of its size: some have many gigabytes."""


def fingerprint_of(folder: Path) -> str | None:
    """A digest of a directory's weights, so that a study does not go on with others; None where it is none."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        return None
    found = sha256()
    for file in files:
        size = file.stat().st_size
        found.update(f"{file.name} {size} ".encode())
        with open_regular(file) as raw:
            found.update(raw.read(ENDS))
            raw.seek(max(0, size - ENDS))
            found.update(raw.read(ENDS))
    return found.hexdigest()


def keeps_head(outputs: int, names: Sequence[str], data: Data | None, wanted: int, reference: str) -> bool:
    """Whether a trained head serves the data; else a new one is needed, for classes that are others altogether.

    Args:
        outputs: of the head.
        names: of its classes, where they are known.
        data: what the model is for.
        wanted: see :func:`outputs_for`.
        reference: the recipe's model, for messages.

    Raises :class:`RecipeError` where labels are indices beyond the head's classes.
    """
    classes = data.classes if data is not None else ()
    if not wanted:
        return True
    if classes and not all(name.isdecimal() for name in classes):
        known = {name.lower() for name in names}
        return any(name.lower() in known for name in classes) or (not names and wanted == outputs)
    if wanted > outputs:
        listed = f" ({', '.join(names[:8])})" if names else ""
        raise RecipeError(
            f"model: the head of {reference} has {outputs} outputs{listed}, and the data need {wanted}: name the "
            f"classes of the data as the head does, or give model: {reference},head=new for a new head"
        )
    return True
