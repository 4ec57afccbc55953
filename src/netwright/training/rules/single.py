"""One random sub-network a step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...core.candidate import Candidate
from ...nets.supernet import SuperNet
from ...tasks.base import Task
from .base import Rule, State, Step, Teacher, learn, untracked


@dataclass(frozen=True)
class SinglePath(Rule):
    """Each batch teaches one sub-network, drawn uniformly.

    Guo et al., "Single path one-shot neural architecture search with uniform sampling" (2020). A step costs a third of
    the sandwich's or less. No running statistics are kept, since they would be those of no network: recalibrate
    what is extracted.
    """

    def chosen(self, net: SuperNet, rng: np.random.Generator) -> Candidate:
        """The sub-network that a batch teaches."""
        return net.space.sample(rng)

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
        with net.active(self.chosen(net, rng)) as module, untracked(module):
            return learn(module, batch, task, teacher)[0]
