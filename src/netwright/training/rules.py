"""Rules: which sub-networks learn from a batch, and from whom."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..nets.inputs import call, each_tensor, fresh, tensors_in
from ..nets.supernet import SuperNet
from ..tasks.losses import Loss, distillation, scalar


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
        distillation: of a student's and a teacher's outputs; by default found by trying the loss, see
            :func:`netwright.tasks.losses.distillation`.
    """

    random: int = 2
    distillation: Loss | None = None
    _found: dict[tuple[int, int], Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def step(self, net: SuperNet, inputs: Any, labels: Any, loss: Loss, rng: np.random.Generator) -> float:
        with net.active(net.largest) as module:
            output = call(module, fresh(inputs))
            value = scalar(loss(output, labels))
            if not torch.isfinite(value):  # which ends the training: there is nothing to learn from
                return float(value.detach())
            value.backward()
        teacher = each_tensor(output, Tensor.detach)
        teach = self._teaching(loss, teacher, labels)
        for candidate in (net.smallest, *(net.space.sample(rng) for _ in range(self.random))):
            with net.active(candidate) as module, _untracked(module):
                teach(call(module, fresh(inputs)), teacher, labels).backward()
        return float(value.detach())

    def _teaching(self, loss: Loss, teacher: Any, labels: Any) -> Callable[[Any, Any, Any], Tensor]:
        """What a student learns by; found once for a loss and as many dimensions."""
        own = self.distillation
        if own is not None:
            return lambda output, teacher, labels: scalar(own(output, teacher))
        key = id(loss), next((t.dim() for t in tensors_in(teacher)), 0)
        if key not in self._found:
            self._found[key] = loss, distillation(loss, teacher, labels)  # the loss is kept: its id stays its own
        teach: Callable[[Any, Any, Any], Tensor] = self._found[key][1]
        return teach


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
