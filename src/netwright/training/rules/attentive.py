"""Attentive sampling: of several sub-networks of one cost the best, or the worst, learns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ...core.candidate import Candidate
from ...core.errors import RecipeError
from ...nets.supernet import SuperNet
from ..costs import Count, costs_of
from ..lesson import Lesson
from .base import TARGETS, Rule, require_targets


@dataclass(frozen=True)
class Attentive(Rule):
    """The sandwich, whose random sub-networks are the best, or the worst, of several of about the same cost.

    Wang et al., "AttentiveNAS: improving neural architecture search via attentive sampling" (2021), sections 3 and 4:
    best-up pushes the front of accuracy over cost, worst-up lifts what lies far below it. How good a network is, is
    estimated by its loss on the batch, without gradients (their "BestUp-3 (loss)"). The first of the several is drawn
    by the sampling, the others to its cost. Processes that train together prefer each by its own part of the batch.

    Args:
        prefer: which of them learns, ``best`` or ``worst``.
        among: how many of them.
        random: how many sub-networks learn from each batch besides the largest and the smallest.
        count: what a cost is: a count such as ``macs`` or ``params``.
        targets: as the sandwich has it; 0 in the paper.
    """

    prefer: Literal["best", "worst"] = "best"
    among: int = 3
    random: int = 2
    count: Count = "macs"
    targets: float = TARGETS

    def __post_init__(self) -> None:
        if self.prefer not in ("best", "worst"):
            raise RecipeError(f"prefer is best or worst, not {self.prefer!r}")
        if self.among < 1 or self.random < 0:
            raise RecipeError(
                f"among is 1 or more, and random 0 or more sub-networks, not {self.among} and {self.random}"
            )
        require_targets(self.targets)

    def step(self, net: SuperNet, lesson: Lesson) -> float:
        value, answer = lesson.learn_largest(net)
        lesson.imitate(net, net.smallest, answer, targets=self.targets)
        for _ in range(self.random):
            lesson.imitate(net, self.draw(net, lesson), answer, targets=self.targets)
        return value

    def draw(self, net: SuperNet, lesson: Lesson) -> Candidate:
        """The preferred one of several sub-networks of about the same cost."""
        costs, first = costs_of(net, self.count), lesson.sample(net)
        share = costs.share_of(first)
        several = [first, *(costs.draw(share, lesson.rng) for _ in range(self.among - 1))]
        losses = [lesson.judge(net, candidate) for candidate in several]
        wanted = min(losses) if self.prefer == "best" else max(losses)
        return several[losses.index(wanted)]
