"""Delayed shrinking: the largest alone at first, then a sandwich whose smaller networks begin gently."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.errors import RecipeError
from ...nets.supernet import SuperNet
from ..lesson import Lesson
from ..steps import Step
from .base import TARGETS, Rule, require_networks, require_targets


@dataclass(frozen=True)
class DelayedShrinking(Rule):
    """The largest learns alone at first; then the smallest and some random sub-networks learn from it as well.

    Annavajjala et al., "DεpS: delayed ε-shrinking for faster once-for-all training" (2024): shrinking begins
    when the largest is half trained, so that what it teaches is worth learning, and sub-networks' rates grow from
    little (ε), so that they do not undo what it has learned. Their gradients are what is scaled here, since one
    optimizer moves all.

    Args:
        start: the share of the training in which the largest learns alone.
        warmup: the share of the training in which the others' gradients grow to what they are.
        random: how many random sub-networks learn from each batch afterwards.
        targets: as the sandwich has it; 0 in the paper.
    """

    start: float = 0.5
    warmup: float = 0.1
    random: int = 2
    targets: float = TARGETS

    def __post_init__(self) -> None:
        if not (0 <= self.start <= 1 and 0 <= self.warmup <= 1):
            raise RecipeError(
                f"start and warmup are shares of the training, from 0 to 1, not {self.start} and {self.warmup}"
            )
        require_networks(self.random, 0)
        require_targets(self.targets)

    def step(self, net: SuperNet, lesson: Lesson) -> float:
        value, answer = lesson.learn_largest(net)
        weight = self.weight(lesson.at)
        if weight:
            for candidate in (net.smallest, *(lesson.sample(net) for _ in range(self.random))):
                lesson.imitate(net, candidate, answer, targets=self.targets, weight=weight)
        return value

    def weight(self, at: Step) -> float:
        """What sub-networks' gradients are multiplied by."""
        if at.share < self.start:
            return 0.0
        since = at.share - self.start + 1 / at.steps
        return min(1.0, since / self.warmup) if self.warmup else 1.0
