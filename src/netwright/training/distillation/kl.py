"""The Kullback-Leibler divergence of the teacher's probabilities from the network's, with a temperature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from ...core.errors import RecipeError
from ...tasks.base import Task
from ..answers import Answer
from .base import Distillation


@dataclass(frozen=True)
class Kl(Distillation):
    """The divergence KL(teacher || student) of the probabilities of classes, for any task with classes.

    Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network" (2015), section 2: both scores are divided
    by the temperature, and the loss is multiplied by its square, so that gradients keep their size.

    Args:
        temperature: above 1 the small probabilities of wrong classes count for more. Its gradients are those of
            ``outputs`` where it is the task's own temperature.
    """

    temperature: float = 4.0

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise RecipeError(f"kl: temperature is a number above 0, not {self.temperature}")

    def loss(self, task: Task, student: Answer, teacher: Answer, targets: Any) -> Tensor:
        scores, beliefs = (task.class_scores(each.outputs, targets) / self.temperature for each in (student, teacher))
        if not len(scores):
            return scores.sum()  # nothing counts; the mean of nothing is not a number
        divergence = F.kl_div(scores.log_softmax(1), beliefs.log_softmax(1), reduction="batchmean", log_target=True)
        return divergence * self.temperature**2
