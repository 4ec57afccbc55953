"""Progressive shrinking: the largest network first, then smaller kernels, depths and widths."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from statistics import fmean

from ...core.candidate import Candidate, Option
from ...core.errors import RecipeError
from ...core.space import Choice
from ...nets.supernet import SuperNet
from ..keeping import keep_weights, kept_answer
from ..kinds import Kind, kinds_of
from ..lesson import Lesson
from .base import Rule, require_networks

PHASES: tuple[tuple[Kind, float, int], ...] = (
    ("kernel", 1.0, 120), ("depth", 0.5, 25), ("depth", 1.0, 120), ("width", 0.5, 25), ("width", 1.0, 120),
)  # fmt: skip
"""What opens one after the other: a kind of choice, up to which share of its options, and for how long; the epochs are
those of the authors' code."""

KEPT = "progressive"


@dataclass(frozen=True)
class Progressive(Rule):
    """The largest learns first; then smaller kernels are drawn too, then smaller depths, then smaller widths.

    Cai et al., "Once-for-all: train one network and specialize it for efficient deployment" (2020), section 3.3. From
    the second phase on sub-networks learn from the targets and from the teacher: the given one, or the largest network
    as the first phase leaves it, which is kept. Choices whose options share no weights (menus), and the resolution, are
    drawn from the beginning. A phase is left out where the space has no such choice, and the others last longer.

    Args:
        start: the share of the training in which the largest learns alone; 0 for weights that come trained.
        random: how many sub-networks learn from each batch afterwards.
    """

    start: float = 0.3
    random: int = 2

    def __post_init__(self) -> None:
        if not 0 <= self.start <= 1:
            raise RecipeError(f"start is a share of the training, from 0 to 1, not {self.start}")
        require_networks(self.random, 1)

    def step(self, net: SuperNet, lesson: Lesson) -> float:
        opened = self.opened(net, lesson.at.share)
        if lesson.at.share < self.start:
            return lesson.learn(net, self.draw(net, lesson, opened))[0]
        if lesson.teacher is None:
            keep_weights(net, lesson.state, KEPT)
            lesson = lesson.taught_by(kept_answer(net, lesson, KEPT))
        return fmean(lesson.learn(net, self.draw(net, lesson, opened))[0] for _ in range(self.random))

    def opened(self, net: SuperNet, share: float) -> dict[Kind, float]:
        """Up to which share of their options the choices of each kind are open.

        Args:
            net: the super-network.
            share: how far the training has got, from 0 to 1.
        """
        found = set(kinds_of(net).values())
        phases = [phase for phase in PHASES if phase[0] in found]
        until, opened = self.start, dict[Kind, float]({"free": 1.0})
        for kind, part, epochs in phases:
            if share < until or until >= 1:
                break
            opened[kind] = part
            until += (1 - self.start) * epochs / sum(each[2] for each in phases)
        return opened

    def draw(self, net: SuperNet, lesson: Lesson, opened: dict[Kind, float]) -> Candidate:
        """A random sub-network of the options that are open: of those that are not, open ones take the place."""
        drawn, kinds = lesson.sample(net), kinds_of(net)

        def pick(choice: Choice) -> Option:
            part = opened.get(kinds[choice.name], 0.0)
            options = choice.options[-1 - ceil(part * (len(choice.options) - 1)) :]
            if choice.name in drawn and drawn[choice.name] in options:
                return drawn[choice.name]
            return options[int(lesson.rng.integers(len(options)))]

        return net.space.build(pick)
