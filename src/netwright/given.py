"""What a recipe's functions give: the model and the data, checked before anything costly begins."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .core.candidate import Candidate
from .core.errors import NetError, RecipeError, format_error
from .core.space import Space
from .measure.base import Measurer
from .nets.batch import BatchDims, find_batch_dims
from .nets.extract import copy_of
from .nets.inputs import Inputs, call
from .nets.supernet import SuperNet
from .recipe import resolve
from .table import Table
from .tasks.data import Data


class Foreign:
    """A super-network made elsewhere, as the stages of a job take it: what it extracts is a checked copy.

    Args:
        made: the person's object, with ``space`` and ``extract(candidate)``. It may have ``example_inputs``, what a
            network is called with; ``batch_dims``, where the batch of these is; ``measurers``, of metrics of its own;
            and ``fingerprint``, a text that changes with its weights, so that a study does not mix them.
        reference: the function that made it, for messages.
        inputs: gives example inputs where it has none.
    """

    def __init__(self, made: Any, reference: str, inputs: Callable[[], Inputs]) -> None:
        self._made, self._reference, self._inputs = made, reference, inputs
        self.space: Space = made.space
        self.measurers: tuple[Measurer, ...] = tuple(getattr(made, "measurers", ()))
        self.fingerprint = str(getattr(made, "fingerprint", ""))

    @cached_property
    def example_inputs(self) -> Inputs:
        """What a network is called with."""
        own = getattr(self._made, "example_inputs", None)
        return self._inputs() if own is None else own

    @property
    def code(self) -> type:
        """What makes the networks; see :attr:`netwright.Measurer.code`."""
        return type(self._made)

    @cached_property
    def batch_dims(self) -> BatchDims:
        """Which dimension of every input and output is the batch: the object's own ``batch_dims``, or found once, of
        the largest network."""
        network = self.extract(self.space.largest).eval()
        return find_batch_dims(network, example_of(network, self), getattr(self._made, "batch_dims", None))

    def extract(self, candidate: Candidate) -> nn.Module:
        """A copy of what the object extracts: nothing that is done to a network reaches the shared weights.

        Raises :class:`NetError` for what is no network.
        """
        what = f"extract() of {self._reference}"
        try:
            shared = self._made.extract(candidate)
        except Exception as error:  # a person's own code
            raise NetError(f"{what} raised {format_error(error)}") from error
        if not isinstance(shared, nn.Module):
            raise NetError(f"{what} must give a torch.nn.Module, not a {_kind(shared)}")
        try:
            tables = (t for m in shared.modules() for t in (vars(m), m._parameters, m._buffers))
            if any(isinstance(v, torch.Tensor) and not v.is_leaf for table in tables for v in table.values()):
                raise NetError("some are slices of others")
            network = copy_of(shared)
        except NetError as error:
            raise NetError(
                f"{what} gives a network that cannot be copied; its tensors must be parameters or detached "
                f"({format_error(error)})"
            ) from error
        network.candidate = dict(candidate)  # type: ignore[assignment]
        return network

    @torch.no_grad()
    def check(self) -> None:
        """Run the largest network once."""
        network = self.extract(self.space.largest).eval()
        try:
            call(network, example_of(network, self))
        except Exception as error:
            raise RecipeError(
                f"model: the largest network of {self._reference} raises on its example inputs: {format_error(error)}"
            ) from error


def example_of(network: nn.Module, net: SuperNet | Foreign) -> Inputs:
    """What a network is called with: its own example inputs, or those of the super-network that it comes from."""
    own: Inputs | None = getattr(network, "example_inputs", None)
    return net.example_inputs if own is None else own


def model_of(reference: str, inputs: Callable[[], Inputs]) -> SuperNet | Table | Foreign:
    """What a recipe's ``model`` gives.

    Args:
        reference: ``module:function``.
        inputs: gives example inputs for a super-network made elsewhere that has none.
    """
    made = resolve(reference, "model", object)
    if isinstance(made, SuperNet | Table):
        return made
    try:
        space, extract = getattr(made, "space", None), getattr(made, "extract", None)
    except Exception as error:
        raise RecipeError(f"model: the space of {reference} raised {format_error(error)}") from error
    if space is None or not callable(extract):
        raise RecipeError(
            f"model: {reference}() must give a netwright.SuperNet, a netwright.Table, or an object with space and "
            f"extract(candidate), but gave a {_kind(made)}"
        )
    if not isinstance(space, Space):
        raise RecipeError(f"model: the space of {reference} must be a netwright.Space, not a {_kind(space)}")
    for measurer in getattr(made, "measurers", ()):
        if not isinstance(measurer, Measurer):
            raise RecipeError(f"model: the measurers of {reference} must be netwright.Measurer, not {_kind(measurer)}")
    return Foreign(made, reference, inputs)


def data_of(reference: str, network: nn.Module, model: str) -> Data:
    """What a recipe's ``data`` gives; ``network``, of the recipe's ``model``, is tried on a little of it."""
    data: Data = resolve(reference, "data", Data)
    network.eval()
    for name in ("train", "validation", "test"):
        inputs = getattr(data, name).inputs
        try:
            with torch.no_grad():
                scores = call(network, inputs[:2])
        except Exception as error:
            raise RecipeError(
                f"the model {model} cannot take the data of {reference}, {name} inputs of "
                f"shape {tuple(inputs.shape[1:])} and {inputs.dtype}: {format_error(error)}"
            ) from error
    if not isinstance(scores, torch.Tensor):
        raise RecipeError(f"the model gives a {_kind(scores)}; it must give a tensor of scores alone")
    most = int(max(p.targets.max() for p in (data.train, data.validation, data.test)))
    if scores.ndim != 2 or scores.shape[1] <= most:
        raise RecipeError(
            f"the model gives scores of shape {tuple(scores.shape)}, but labels go up to {most}: "
            f"it must give (batch, {most + 1} or more)"
        )
    return data


def _kind(value: object) -> str:
    return type(value).__name__


def network_of(reference: str) -> tuple[nn.Module, Inputs]:
    """What ``module:function`` gives to be measured, and what it is called with.

    A ``torch.nn.Module`` with an attribute ``example_inputs``, a pair of a module and its inputs, or a super-network,
    of which the largest network is taken.
    """
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    made = resolve(reference, "measure", object)
    if isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], nn.Module):
        return made
    if callable(getattr(made, "extract", None)) and isinstance(getattr(made, "space", None), Space):
        inputs = getattr(made, "example_inputs", None)
        made = made.extract(made.space.largest)
    else:
        inputs = getattr(made, "example_inputs", None)
    if not isinstance(made, nn.Module):
        raise RecipeError(
            f"measure: {reference}() must give a torch.nn.Module with example_inputs, a pair of a module and its "
            f"inputs, or a super-network, but gave a {_kind(made)}"
        )
    if inputs is None:
        raise RecipeError(
            f"measure: {reference}() gives a {_kind(made)} without example_inputs: return (module, inputs) instead"
        )
    return made, inputs
