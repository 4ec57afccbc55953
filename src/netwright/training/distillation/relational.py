"""Relational distillation: the network learns how examples lie to one another, not where they lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...core.errors import RecipeError, TrainingError
from ...tasks.base import Task
from ...tasks.outputs import scores_of
from ..answers import Answer
from .base import Distillation
from .registry import DISTILLATIONS


@dataclass(frozen=True)
class Relational(Distillation):
    """Distances between pairs of examples, and angles between triples, are those that the teacher's outputs have.

    Park et al., "Relational knowledge distillation" (2019), sections 3.2.1 and 3.2.2: distances are divided by their
    mean over the pairs of the batch, and both are compared by Huber's loss. Two networks' outputs need not have the
    same shape. A batch of one example has nothing to compare, and one of two no angles.

    Args:
        distance: the weight of distances.
        angle: the weight of angles; the paper has twice that of distances. They take memory with the third power of
            the batch.
        beside: the distillation that is added to it, such as ``outputs`` or ``(kl,temperature=2)``, or none.
    """

    distance: float = 1.0
    angle: float = 2.0
    beside: Distillation | str | None = "outputs"

    def __post_init__(self) -> None:
        if min(self.distance, self.angle) < 0 or not self.distance + self.angle:
            raise RecipeError(
                f"relational: distance and angle are weights, 0 or more and not both 0, not {self.distance} and "
                f"{self.angle}"
            )
        _ = self._other

    @cached_property
    def _other(self) -> Distillation | None:
        return None if self.beside is None else DISTILLATIONS.make(self.beside)

    def watched(self, module: nn.Module) -> Sequence[str]:
        return self._other.watched(module) if self._other else ()

    def loss(self, task: Task, student: Answer, teacher: Answer, targets: Any) -> Tensor:
        near, wanted = (scores_of(each.outputs).flatten(1) for each in (student, teacher))
        if len(near) != len(wanted):
            raise TrainingError(f"the network gives {len(near)} examples and its teacher {len(wanted)}")
        value = near.sum() * 0.0
        if self.distance and len(near) > 1:
            value = value + self.distance * F.smooth_l1_loss(distances(near), distances(wanted))
        if self.angle and len(near) > 2:
            value = value + self.angle * F.smooth_l1_loss(angles(near), angles(wanted))
        return value + self._other.loss(task, student, teacher, targets) if self._other else value


def distances(rows: Tensor) -> Tensor:
    """Of all pairs, (pairs,), divided by their mean; rows are of shape (n, values)."""
    first, second = torch.triu_indices(len(rows), len(rows), 1, device=rows.device)
    found = _length(rows[first] - rows[second])
    return found / found.mean().clamp_min(torch.finfo(found.dtype).eps)


def angles(rows: Tensor) -> Tensor:
    """Cosines of the angles at each example between two others: of shape (n, n, n), the example first."""
    edges = rows[None] - rows[:, None]
    edges = edges / _length(edges).clamp_min(torch.finfo(rows.dtype).eps)[..., None]
    return edges @ edges.transpose(1, 2)


def _length(rows: Tensor) -> Tensor:
    """Over the last dimension; 0 has the gradient 0 there."""
    squares = rows.square().sum(-1)
    some = squares > 0
    return torch.where(some, squares, 1).sqrt() * some
