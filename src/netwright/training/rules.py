"""Rules: which sub-networks learn from a batch, and from whom."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

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

    Yu and Huang, "Universally slimmable networks and improved training techniques" (2019), sections 3.2 and 3.4.

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
            with net.active(candidate) as module:
                distillation(call(module, inputs), teacher).backward()
        return float(value.detach())
