"""A moving average of weights, which generalises better than the last of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ..nets.inputs import is_dense, put
from ..nets.state import copied_state, state_of


class WeightAverage:
    """The exponential moving average of a network's parameters and statistics (Polyak and Juditsky, 1992).

    Early on it follows faster, (1 + n) / (10 + n) after n updates, so that the first weights are soon forgotten.

    Args:
        module: whose tensors are averaged; what is no dense tensor of numbers is taken as it is last.
        decay: how much of the average stays in each update, such as 0.999.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module, self.decay, self.updates = module, decay, 0
        self.tensors = copied_state(module)

    @torch.no_grad()
    def update(self) -> None:
        """Take the network's tensors in."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for name, own in state_of(self.module).items():
            average = self.tensors[name]
            if average.is_floating_point() and is_dense(average):
                average.lerp_(own, 1 - decay)
            else:
                self.tensors[name] = own.detach().clone()

    def saved(self) -> dict[str, Any]:
        """The average, as values for a checkpoint."""
        return {"tensors": self.tensors, "updates": self.updates}

    def load(self, saved: Mapping[str, Any]) -> None:
        """Go on from an average that was saved."""
        for name, average in self.tensors.items():
            put(average, saved["tensors"][name])
        self.updates = saved["updates"]

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The network with the average in place of its tensors while the block lasts."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    @torch.no_grad()
    def swap(self) -> None:
        """The average goes into the network, and what the network had takes its place."""
        for name, own in state_of(self.module).items():
            kept = own.detach().clone()
            put(own, self.tensors[name])
            self.tensors[name] = kept
