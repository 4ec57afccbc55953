"""Super-networks made elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import nn

from ..core.candidate import Candidate
from ..core.errors import NetError, RecipeError, format_error
from ..core.space import Space
from ..measure.counts import NetworkCounts
from ..nets.batch import BatchDims, find_batch_dims
from ..nets.extract import copy_of
from ..nets.inputs import Inputs, call
from .base import Source, measurers_of


class ExternalSource(Source):
    """A super-network made elsewhere: what it extracts is a checked copy.

    Args:
        made: the person's object, with ``space`` and ``extract(candidate)``. It may have ``example_inputs``, what a
            network is called with; ``batch_dims``, where the batch of these is; ``measurers``, of metrics of its own;
            and ``fingerprint``, a text that changes with its weights, so that a study does not mix them.
        reference: the function that made it, for messages.
        inputs: gives example inputs where it has none.
    """

    def __init__(self, made: Any, reference: str, inputs: Callable[[], Inputs]) -> None:
        super().__init__(reference)
        self._made, self._inputs = made, inputs
        self._space: Space = made.space
        self.measurers = measurers_of(made)
        self.counts = (NetworkCounts(),)
        self.fingerprint = str(getattr(made, "fingerprint", ""))
        self.untrained = f"{reference} gives a super-network made elsewhere, with its weights"

    @property
    def net(self) -> ExternalSource:
        """The source itself: its copies are what is searched."""
        return self

    @property
    def space(self) -> Space:
        """The candidates."""
        return self._space

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
        return find_batch_dims(network, self.example_of(network), getattr(self._made, "batch_dims", None))

    def extract(self, candidate: Candidate) -> nn.Module:
        """A copy of what the object extracts: nothing that is done to a network reaches the shared weights.

        Raises :class:`NetError` for what is no network.
        """
        what = f"extract() of {self.reference}"
        try:
            shared = self._made.extract(candidate)
        except Exception as error:  # a person's own code
            raise NetError(f"{what} raised {format_error(error)}") from error
        if not isinstance(shared, nn.Module):
            raise NetError(f"{what} must give a torch.nn.Module, not a {type(shared).__name__}")
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
            call(network, self.example_of(network))
        except Exception as error:
            raise RecipeError(
                f"model: the largest network of {self.reference} raises on its example inputs: {format_error(error)}"
            ) from error
