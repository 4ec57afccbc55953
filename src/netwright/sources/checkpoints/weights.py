"""A state dict and the function that builds its module: ``module:function,weights=FILE``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import nn

from ...core.errors import NetwrightError, RecipeError, format_error
from ...nets.inputs import Inputs
from ...nets.state import load_state, read_tensors
from ...recipe.load import resolve
from ...tasks.base import Task
from ...tasks.data import Data, loader_of
from ...tasks.files.preparation import NOTHING, Preparation
from ..base import Source
from .base import Checkpoint, keeps_head, outputs_for
from .heads import head_of, outputs_of, put_new_head
from .wrapped import LEAST, wrapped


@dataclass(frozen=True)
class Weights(Checkpoint):
    """A module that a function builds, with the weights of a ``.safetensors`` file.

    Args:
        path: ``module:function``, which gives the module.
        weights: the file; the names in it are those of the module's state dict.
        head: ``new`` begins with a fresh head also where the data have as many classes as the head. It is the layer
            that gives the module's result.
        least: the smallest share of its widths and of blocks that may be left out.
        folder: that its path starts from.
    """

    path: str
    weights: str
    head: Literal["own", "new"] = "own"
    least: float = LEAST
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
        what, new = self._fit_head(module, inputs, task, data)
        return wrapped(module.eval(), inputs, self.path, what, new, least=self.least)

    def _fit_head(
        self, module: nn.Module, inputs: Inputs, task: Task, data: Data | None
    ) -> tuple[tuple[str, ...], bool]:
        """Put a new head on a module where its own does not serve the data; what is to be said, and whether it is new.

        Raises :class:`RecipeError` where a new one is needed, and which layer is the head cannot be told.
        """
        wanted = outputs_for(task, data)
        path = head_of(module, inputs) if wanted else None
        if path is not None:
            outputs = outputs_of(module.get_submodule(path))
            if self.head == "own" and keeps_head(outputs, (), data, wanted, self.path):
                return (), False
            put_new_head(module, path, wanted)
            return (f"model: {self.path}, with a new head of {wanted} outputs, {path}",), True
        if self.head == "new":
            raise RecipeError(
                f"model: {self.path} has no linear layer or convolution whose result is what it gives, in the place of "
                f"which a new head could be: build it with {wanted or 'as many'} outputs in the function"
            )
        return (), False
