"""Lessons that remember who has learned, and how."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

import netwright as nw
from netwright.core.candidate import Candidate
from netwright.tasks.classification import Classification
from netwright.training.answers import Answer
from netwright.training.rules import Lesson, Rule, Step


@dataclass(frozen=True)
class Spied(Lesson):
    """Remembers each sub-network that learned or imitated, with the weight of its gradients."""

    learned: list[tuple[Candidate, float]] = field(default_factory=list)
    imitated: list[tuple[Candidate, float]] = field(default_factory=list)

    def learn(self, net: nw.SuperNet, candidate: Candidate, *, weight: float = 1.0) -> tuple[float, Answer]:
        self.learned.append((candidate, weight))
        return super().learn(net, candidate, weight=weight)

    def imitate(
        self, net: nw.SuperNet, candidate: Candidate, answer: Answer, *, targets: float = 0.0, weight: float = 1.0
    ) -> float:
        self.imitated.append((candidate, weight))
        return super().imitate(net, candidate, answer, targets=targets, weight=weight)

    @property
    def everyone(self) -> list[Candidate]:
        return [candidate for candidate, _ in (*self.learned, *self.imitated)]


def spied(rule: Rule, net: nw.SuperNet, batch: Any, steps: int, **rest: Any) -> list[Spied]:
    """The lessons of a training's steps on one batch; no weight moves."""
    state: dict[str, Any] = rest.pop("state", {})
    rng = np.random.default_rng(rest.pop("seed", 0))
    lessons = []
    for i in range(steps):
        lesson = Spied(batch, Classification(), rng, Step(i, steps), state=state, **rest)
        rule.step(net, lesson)
        lessons.append(lesson)
    return lessons
