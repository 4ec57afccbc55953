"""The sandwich: the largest learns from the targets, the smallest and some random ones from the largest."""

from __future__ import annotations

from dataclasses import dataclass

from ...nets.supernet import SuperNet
from ..lesson import Lesson
from .base import Rule, require_networks


@dataclass(frozen=True)
class Sandwich(Rule):
    """The largest learns from the targets; the smallest and some random sub-networks learn from the largest.

    Yu and Huang, "Universally slimmable networks and improved training techniques" (2019), sections 3.2 and 3.4.
    Where a teacher is given, the largest learns from it too, and the others from it alone.

    Args:
        random: how many random sub-networks learn from each batch.
    """

    random: int = 2

    def __post_init__(self) -> None:
        require_networks(self.random, 0)

    def step(self, net: SuperNet, lesson: Lesson) -> float:
        value, answer = lesson.learn_largest(net)
        for candidate in (net.smallest, *(lesson.sample(net) for _ in range(self.random))):
            lesson.imitate(net, candidate, answer)
        return value
