"""The adaptive alpha-divergence: against a student that is too sure as well as one that leaves out what is likely."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...core.errors import RecipeError
from ...tasks.base import Task
from ..answers import Answer
from .base import Distillation

NEAR = 1e-3
"""How near to 0 or 1 alpha is taken for that: the divergence is then one of Kullback and Leibler's."""


@dataclass(frozen=True)
class Alpha(Distillation):
    """Of two alpha-divergences of the teacher's probabilities from the student's the larger one, example by example.

    Wang et al., "AlphaNet: Improved training of supernets with alpha-divergence" (2021), sections 4.1 and 4.2. With p
    the teacher's and q the student's probabilities it is ``sum(q * ((p / q)**alpha - 1)) / (alpha * (alpha - 1))``;
    KL(p || q) for 1, KL(q || p) for 0. A negative alpha tells a student that overestimates, a positive one that
    underestimates. The loss is the divergence; where ``(p / q)**alpha`` exceeds ``clip`` it counts as that, in the
    gradient too, which would else vary without bounds. For alpha of 0 and 1 it is as it is in the authors' code: the
    ratio itself is clipped for 0, and nothing is for 1.

    Args:
        low: the smaller alpha.
        high: the larger one.
        clip: the largest ``(p / q)**alpha``.
    """

    low: float = -1.0
    high: float = 1.0
    clip: float = 5.0

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise RecipeError(f"alpha: low is less than high, not {self.low} and {self.high}")
        if not self.clip > 0:
            raise RecipeError(f"alpha: clip is a number above 0, not {self.clip}")

    def loss(self, task: Task, student: Answer, teacher: Answer, targets: Any) -> Tensor:
        scores, beliefs = (task.class_scores(each.outputs, targets) for each in (student, teacher))
        if not len(scores):
            return scores.sum()  # nothing counts; the mean of nothing is not a number
        left, right = (self._divergence(scores, beliefs, alpha) for alpha in (self.low, self.high))
        return torch.where(left > right, left, right).mean()

    def _divergence(self, scores: Tensor, beliefs: Tensor, alpha: float) -> Tensor:
        """Of each thing, (things,): the value of the divergence, with the gradient of its clipped form."""
        student, teacher = scores.log_softmax(1), beliefs.log_softmax(1)
        q, ratio = student.detach().exp(), teacher - student.detach()  # the logarithm of p / q
        if abs(alpha - 1) < NEAR:
            value, slope = teacher.exp() * ratio, teacher.exp()
        elif abs(alpha) < NEAR:
            ratio = ratio.clamp(max=torch.tensor(self.clip).log().item())
            value, slope = -q * ratio, q * ratio
        else:
            power = (alpha * ratio).clamp(max=torch.tensor(self.clip).log().item()).exp()
            value, slope = q * (power - 1) / (alpha * (alpha - 1)), q * power / alpha
        pull = -(slope * student).sum(1)
        return value.sum(1) + pull - pull.detach()
