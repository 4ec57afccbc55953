"""The targets beside the teacher, or in its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from ...core.errors import RecipeError
from ...tasks.base import Task
from ..answers import Answer
from .base import Distillation
from .registry import DISTILLATIONS


@dataclass(frozen=True)
class Targets(Distillation):
    """Networks learn from the targets too: a weighted sum of the task's own loss and of another distillation.

    Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network" (2015), section 2, for classes.

    Args:
        share: of the targets; with 1 the teacher has no say, so that in a sandwich all networks learn alike.
        beside: the distillation that has the rest, such as ``outputs`` or ``(kl,temperature=2)``.
    """

    share: float = 0.5
    beside: Distillation | str = "outputs"

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise RecipeError(f"targets: share is above 0 and at most 1, not {self.share}")
        _ = self._other

    @cached_property
    def _other(self) -> Distillation:
        return DISTILLATIONS.make(self.beside)

    def watched(self, module: nn.Module) -> Sequence[str]:
        return self._other.watched(module) if self.share < 1 else ()

    def loss(self, task: Task, student: Answer, teacher: Answer, targets: Any) -> Tensor:
        value = self.share * task.loss(student.outputs, targets)
        if self.share == 1:
            return value
        return value + (1 - self.share) * self._other.loss(task, student, teacher, targets)
