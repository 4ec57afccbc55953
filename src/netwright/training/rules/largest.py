"""Plain training: the largest network alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...nets.supernet import SuperNet
from ...tasks.base import Task
from .base import Rule, State, Step, Teacher, learn


@dataclass(frozen=True)
class Largest(Rule):
    """The largest network learns, as it would without being a super-network.

    For what smaller networks are measured against, and for weights that other rules start from.
    """

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
            return learn(module, batch, task, teacher)[0]
