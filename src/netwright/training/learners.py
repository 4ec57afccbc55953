"""What learns in a training: the sub-networks of a super-network by a rule, or a network by itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from torch import nn

from ..core.candidate import Candidate
from ..nets.supernet import SuperNet
from ..tasks import Task
from .answers import Teacher
from .distillation.base import Distillation
from .lesson import Lesson
from .rules.base import Rule
from .run import Learner
from .sampling.base import Sampling
from .steps import State, Step


def by_rule(
    net: SuperNet,
    loader: Any,
    task: Task,
    rule: Rule,
    sampling: Sampling,
    distillation: Distillation,
    teacher: Teacher | None,
) -> Learner:
    """The sub-networks that a rule chooses.

    Args:
        net: prepared by the rule.
        loader: of the training data.
        task, rule, sampling, distillation: see :func:`netwright.train`.
        teacher: on the device, if there is one.
    """
    heard = _Heard(sampling)

    def step(batch: Any, rng: np.random.Generator, at: Step, state: State) -> float:
        heard.losses.clear()
        return rule.step(net, Lesson(batch, task, rng, at, teacher, distillation, heard, state))

    def data(rng: np.random.Generator, at: Step, state: State) -> Iterable[Any]:
        return rule.data(loader, rng, at=at, state=state)

    return Learner(net.module, step, data, losses=heard.losses)


class _Heard(Sampling):
    """A sampling that keeps the losses that it is told."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling, self.losses = sampling, list[float]()

    def sample(self, net: SuperNet, rng: np.random.Generator, at: Step, state: State) -> Candidate:
        return self._sampling.sample(net, rng, at, state)

    def told(self, net: SuperNet, candidate: Candidate, loss: float, at: Step, state: State) -> None:
        self.losses.append(loss)
        self._sampling.told(net, candidate, loss, at, state)


def alone(network: nn.Module, loader: Any, task: Task, distillation: Distillation, teacher: Teacher | None) -> Learner:
    """A network by itself; the arguments are those of :func:`by_rule`."""

    def step(batch: Any, rng: np.random.Generator, at: Step, state: State) -> float:
        return Lesson(batch, task, rng, at, teacher, distillation).learn_alone(network)[0]

    return Learner(network, step, lambda rng, at, state: loader)
