"""Distillation of the outputs, as the task says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ...tasks.base import Task
from ..answers import Answer
from .base import Distillation


@dataclass(frozen=True)
class Outputs(Distillation):
    """The outputs are compared as the task says (``Task.distillation_loss``): for classes, the cross-entropy with the
    teacher's probabilities.

    Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network" (2015), section 2.
    """

    def loss(self, task: Task, student: Answer, teacher: Answer, targets: Any) -> Tensor:
        return task.distillation_loss(student.outputs, teacher.outputs, targets)
