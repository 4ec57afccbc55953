"""What a rule is: which sub-networks learn from a batch, and from whom."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...core.errors import TrainingError
from ...nets.inputs import Inputs, call, each_tensor, fresh
from ...nets.supernet import SuperNet
from ...tasks.base import Task
from ...tasks.losses import scalar

State = dict[str, Tensor]
"""What a rule remembers from step to step; kept by checkpoints."""

Teacher = Callable[[Inputs], Any]
"""Gives the outputs that others learn from, detached from any graph."""


@dataclass(frozen=True)
class Step:
    """Which step of how many.

    Args:
        step, steps: of the whole training, counted from 0; a step is a batch.
        epoch, epochs: counted from 0.
    """

    step: int = 0
    steps: int = 1
    epoch: int = 0
    epochs: int = 1

    @property
    def share(self) -> float:
        """How far the training has got, from 0 to 1."""
        return self.step / max(1, self.steps - 1)


class Rule(ABC):
    """Which sub-networks learn from each batch, and from whom."""

    distils: ClassVar[bool] = False
    """Whether sub-networks learn from other networks' outputs even where no teacher is given."""

    @abstractmethod
    def step(
        self,
        net: SuperNet,
        batch: Any,
        task: Task,
        rng: np.random.Generator,
        *,
        at: Step = Step(),
        teacher: Teacher | None = None,
        state: State | None = None,
    ) -> float:
        """Add the gradients of one batch to the shared weights.

        Args:
            net: in training mode, if it is to be.
            batch: as the loader gives it, on the device of the network.
            task: says what of the batch are inputs and targets, and what is learned.
            rng: the only source of randomness besides the global generators of PyTorch, NumPy and Python.
            at: which step of how many.
            teacher: a network that sub-networks learn from as well, if there is one.
            state: tensors of the rule's own by name, to be read and changed; empty at first.

        Returns the loss of the largest (or the only) network, without what is learned from a teacher.
        """

    def data(self, loader: Iterable[Any], rng: np.random.Generator, *, at: Step, state: State) -> Iterable[Any]:
        """The batches of an epoch: those of the loader, or what the rule makes of them.

        Args:
            loader: of the training data.
            rng: for this alone; batches may be drawn one by one.
            at: the first step of the epoch.
            state: as it is when the epoch begins, to be read: so an epoch that was interrupted is gone on with.
        """
        return loader


def forward(module: nn.Module, batch: Any, task: Task) -> tuple[Any, Inputs, Any]:
    """The outputs of a network for a batch, the inputs, and the targets."""
    inputs, targets = task.split(batch)
    return call(module, fresh(inputs)), inputs, targets


def learn(module: nn.Module, batch: Any, task: Task, teacher: Teacher | None = None) -> tuple[float, Any]:
    """Add the gradients of one network that learns from the targets, and from a teacher where there is one.

    With a teacher the two losses count the same. Returns the loss of the targets and the network's outputs, detached.
    Nothing is learned where the loss is not finite: that ends the training.
    """
    output, inputs, targets = forward(module, batch, task)
    value = scalar(task.loss(output, targets))
    if not value.requires_grad and any(p.requires_grad for p in module.parameters()):
        raise TrainingError(
            "the loss does not depend on the weights, so that nothing can be learned: argmax, a comparison, detach() "
            "or item() in it cuts it off"
        )
    if torch.isfinite(value):
        goal = value
        if teacher is not None:
            goal = (value + scalar(task.distillation_loss(output, teacher(inputs), targets))) / 2
        goal.backward()
    return float(value.detach()), each_tensor(output, Tensor.detach)


@contextmanager
def untracked(module: nn.Module) -> Iterator[None]:
    """What runs leaves no trace in the running statistics: they would be those of no network."""
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
