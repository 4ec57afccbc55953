"""Rules: which sub-networks learn from a batch, and from whom."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..nets.inputs import call
from ..nets.supernet import SuperNet
from .losses import Loss, distillation


class Rule(ABC):
    """Who is sampled each step."""

    @abstractmethod
    def step(self, net: SuperNet, inputs: Any, labels: Any, loss: Loss, rng: np.random.Generator) -> float:
        """Add the gradients of one batch to the shared weights and return the loss of the largest (or only) network.

        ``rng`` is the only source of randomness besides torch's global generator.
        """


@dataclass(frozen=True)
class Sandwich(Rule):
    """The largest learns from the labels; the smallest and some random sub-networks learn from the largest.

    Yu and Huang, "Universally slimmable networks and improved training techniques" (2019), sections 3.2 and 3.4. The
    shared running statistics are those of the largest, which alone is tracked.

    Args:
        random: how many random sub-networks learn from each batch.
    """

    random: int = 2

    def step(self, net: SuperNet, inputs: Any, labels: Any, loss: Loss, rng: np.random.Generator) -> float:
        with net.active(net.largest) as module:
            teacher = call(module, inputs)
            value = loss(teacher, labels)
            value.backward()
        teacher = teacher.detach()
        for candidate in (net.smallest, *(net.space.sample(rng) for _ in range(self.random))):
            with net.active(candidate) as module, _untracked(module):
                distillation(call(module, inputs), teacher).backward()
        return float(value.detach())


@contextmanager
def _untracked(module: nn.Module) -> Iterator[None]:
    """What runs leaves no trace in the running statistics: they would be those of no network."""
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
