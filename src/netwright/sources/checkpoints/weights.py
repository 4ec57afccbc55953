"""A state dict and the function that builds its module: ``module:function,weights=FILE``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from ...core.errors import NetwrightError, RecipeError, format_error
from ...nets.state import load_state, read_tensors
from ...recipe.load import resolve
from ...tasks.base import Task
from ...tasks.data import Data, loader_of
from ...tasks.files.preparation import NOTHING, Preparation
from ..base import Source
from .base import Checkpoint
from .wrapped import wrapped


@dataclass(frozen=True)
class Weights(Checkpoint):
    """A module that a function builds, with the weights of a ``.safetensors`` file.

    Args:
        path: ``module:function``, which gives the module.
        weights: the file; the names in it are those of the module's state dict.
        folder: that its path starts from.
    """

    path: str
    weights: str
    folder: str = "."

    @classmethod
    def reads(cls, path: str) -> bool:
        return ":" in path and not Path(path).exists()

    def preparation(self, task: Task) -> Preparation:
        return NOTHING

    def source(self, task: Task, data: Data | None) -> Source:
        module: nn.Module = resolve(self.path, "model", nn.Module)
        try:
            file = Path(self.folder) / self.weights
            load_state(module, read_tensors(file)[0], file)
        except NetwrightError as error:
            raise RecipeError(f"model: weights={self.weights}: {format_error(error)}") from error
        inputs = getattr(module, "example_inputs", None)
        if inputs is None:
            if data is None:
                raise RecipeError(
                    f"model: {self.path}() gives a module without example_inputs, and the recipe names no data: set "
                    "module.example_inputs, what it is called with"
                )
            inputs, _ = task.split(next(iter(loader_of(data.validation, 1))))
        return wrapped(module.eval(), inputs, self.path)
