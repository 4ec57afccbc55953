"""Rules that do something of their own and leave the rest to another rule."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ...nets.supernet import SuperNet
from ..lesson import Lesson
from ..steps import State, Step
from .base import Rule
from .registry import RULES


@dataclass(frozen=True)
class Within(Rule):
    """A rule that goes on with another one.

    Args:
        rule: who learns from each batch, such as ``(sandwich,random=1)``.
    """

    rule: Rule | str = "sandwich"

    def __post_init__(self) -> None:
        _ = self._rule

    @cached_property
    def _rule(self) -> Rule:
        return RULES.make(self.rule)

    def prepare(self, net: SuperNet) -> None:
        self._rule.prepare(net)

    def step(self, net: SuperNet, lesson: Lesson) -> float:
        return self._rule.step(net, lesson)

    def data(self, loader: Iterable[Any], rng: np.random.Generator, *, at: Step, state: State) -> Iterable[Any]:
        return self._rule.data(loader, rng, at=at, state=state)
