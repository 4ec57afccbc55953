"""The sandwich: the largest learns from the targets, the smallest and some random ones from it too."""

from __future__ import annotations

from dataclasses import dataclass

from ...nets.supernet import SuperNet
from ..lesson import Lesson
from .base import TARGETS, Rule, require_networks, require_targets


@dataclass(frozen=True)
class Sandwich(Rule):
    """The largest learns from the targets; the smallest and some random sub-networks from the targets and the largest.

    Yu and Huang, "Universally slimmable networks and improved training techniques" (2019), sections 3.2 and 3.4, where
    ``targets`` is 0. Where a teacher is given, it takes the place of the largest's answer, and the largest learns from
    it too.

    Args:
        random: how many random sub-networks learn from each batch.
        targets: the share of the targets in what the others learn; with 1 nothing is learned from the largest.
    """

    random: int = 2
    targets: float = TARGETS

    def __post_init__(self) -> None:
        require_networks(self.random, 0)
        require_targets(self.targets)

    def step(self, net: SuperNet, lesson: Lesson) -> float:
        value, answer = lesson.learn_largest(net)
        for candidate in (net.smallest, *(lesson.sample(net) for _ in range(self.random))):
            lesson.imitate(net, candidate, answer, targets=self.targets)
        return value
