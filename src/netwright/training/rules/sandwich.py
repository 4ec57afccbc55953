"""The sandwich: the largest learns from the targets, the smallest and some random ones from the largest."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...core.errors import RecipeError
from ...nets.supernet import SuperNet
from ...tasks.base import Task
from ...tasks.losses import scalar
from .base import Rule, State, Step, Teacher, forward, learn, untracked


@dataclass(frozen=True)
class Sandwich(Rule):
    """The largest learns from the targets; the smallest and some random sub-networks learn from the largest.

    Yu and Huang, "Universally slimmable networks and improved training techniques" (2019), sections 3.2 and 3.4. The
    shared running statistics are those of the largest, which alone is tracked. Where a teacher is given, the largest
    learns from it too, and the others from it alone.

    Args:
        random: how many random sub-networks learn from each batch.
    """

    random: int = 2

    distils = True

    def __post_init__(self) -> None:
        if self.random < 0:
            raise RecipeError(f"random is a number of sub-networks, 0 or more, not {self.random}")

    def step(
        self,
        net: SuperNet,
        batch: Any,
        task: Task,
        rng: np.random.Generator,
        *,
        at: Step = Step(),  # noqa: B008
        teacher: Teacher | None = None,
        state: State | None = None,
    ) -> float:
        with net.active(net.largest) as module:
            value, beliefs = learn(module, batch, task, teacher)
        if not math.isfinite(value):
            return value
        if teacher is not None:
            beliefs = teacher(task.split(batch)[0])
        for candidate in (net.smallest, *(net.space.sample(rng) for _ in range(self.random))):
            with net.active(candidate) as module, untracked(module):
                output, _, targets = forward(module, batch, task)
                scalar(task.distillation_loss(output, beliefs, targets)).backward()
        return value
