"""The given model of a job: where it did not know the task, with what it has learned of it."""

from __future__ import annotations

from ..core.errors import CheckpointError
from ..nets.state import read_tensors
from ..recipe.schema import Recipe
from ..sources.base import Source
from ..tasks.data import Data
from .run_directory import LEFT, RunDirectory, trained_in


def key_of(recipe: Recipe, data: Data | None) -> str:
    """Of what trained weights depend on."""
    key = recipe.key(*recipe.space, "data", "task", "train", "seed")
    return f"{key} {data.fingerprint}".strip() if data is not None else key


def as_learned(source: Source, recipe: Recipe, data: Data | None, run: RunDirectory) -> Source:
    """The source with the weights that its pre-trained model has learned the task with, in this job or in the one
    whose super-network is taken up; the source itself where there are none.

    Raises :class:`CheckpointError` for those of another recipe.
    """
    if not source.pretrained:
        return source
    elsewhere = recipe.train.weights
    path = (trained_in(elsewhere)[0] if elsewhere else run).whole
    if not path.exists():
        return source
    tensors, about = read_tensors(path)
    if not elsewhere and about.get("key") != key_of(recipe, data):
        raise CheckpointError(
            f"{path} was trained by another recipe; {LEFT} {run.path} away, or use another output directory"
        )
    return source.learned(tensors, path)
