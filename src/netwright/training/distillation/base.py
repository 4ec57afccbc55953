"""What a distillation is: how one network learns from the answer of another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ...tasks.base import Task
from ..answers import Answer


class Distillation(ABC):
    """How a network learns from the answer of another."""

    def watched(self, module: nn.Module) -> Sequence[str]:
        """Names of the modules whose outputs are compared, besides the network's; none by default.

        Args:
            module: the whole network; sub-networks and teachers may lack some of the modules.
        """
        return ()

    @abstractmethod
    def loss(self, task: Task, student: Answer, teacher: Answer, targets: Any) -> Tensor:
        """What is learned: a tensor without dimensions, the mean over the batch.

        Args:
            task: what the networks are for; its own ``distillation_loss`` compares outputs.
            student: of the network that learns.
            teacher: of the other, detached.
            targets: of the batch: which positions count. They are not learned from.

        Raises :class:`TrainingError` for answers that it cannot compare.
        """
