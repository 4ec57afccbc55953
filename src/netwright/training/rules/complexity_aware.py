"""Complexity-aware sampling: costs change little from step to step, and good networks of a cost come again."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch
from torch import Tensor

from ...core.candidate import Candidate
from ...core.errors import RecipeError
from ...nets.supernet import SuperNet
from ..costs import Count, costs_of
from ..lesson import Lesson
from ..steps import State
from .base import Rule, require_networks

LEVELS, BANK = 10, 8
"""Parts of the range of costs, and the networks that are remembered of each."""

WAY, NETWORKS, LOSSES, LAST, LAST_LOSSES = (
    f"complexity-aware.{name}" for name in ("way", "networks", "losses", "last", "last losses")
)


@dataclass(frozen=True)
class ComplexityAware(Rule):
    """A few sub-networks of about one cost learn from the targets; it goes up and down, and good ones are preferred.

    Tang et al., "ElasticViT: conflict-aware supernet training for deploying fast vision transformer on diverse mobile
    devices" (2023): networks of very different costs pull the shared weights in different directions.
    Complexity-aware sampling limits the difference between steps that follow one another, while the cost goes through
    the whole range; performance-aware sampling takes networks of a bank of those with the least loss of each
    part of the range, now and then. Their preference by the shape of blocks is of their space, and is not here. The
    sampling of the training has no say.

    Args:
        random: how many sub-networks learn from each batch.
        reach: how far the cost moves from one step to the next, at most, as a share of its range.
        exploit: how often a network is taken of the bank, where it has some.
        count: what a cost is: a count such as ``macs`` or ``params``.
    """

    random: int = 2
    reach: float = 0.1
    exploit: float = 0.5
    count: Count = "macs"

    def __post_init__(self) -> None:
        require_networks(self.random, 1)
        if not (0 < self.reach <= 1 and 0 <= self.exploit <= 1):
            raise RecipeError(
                f"reach is a share of the range of costs above 0, and exploit a probability, both up to 1, not "
                f"{self.reach} and {self.exploit}"
            )

    def step(self, net: SuperNet, lesson: Lesson) -> float:
        _remember(net, lesson.state)
        level = self._moved(lesson)
        drawn = [self.draw(net, lesson, level) for _ in range(self.random)]
        values = [lesson.learn(net, candidate)[0] for candidate in drawn]
        rows = np.array([net.space.indices(candidate) for candidate in drawn])
        lesson.state[LAST] = torch.from_numpy(rows)
        lesson.state[LAST_LOSSES] = torch.tensor([level, *values], dtype=torch.float64)
        return fmean(values)

    def draw(self, net: SuperNet, lesson: Lesson, level: float) -> Candidate:
        """A sub-network of about this cost, a share of the range: one that is remembered, or a new one."""
        networks, losses = _bank(net, lesson.state)
        known = torch.isfinite(losses[_part(level)]).nonzero().flatten().tolist()
        if known and lesson.rng.random() < self.exploit:
            return net.space.from_indices(networks[_part(level), lesson.rng.choice(known)].numpy())
        return costs_of(net, self.count).draw(level, lesson.rng)

    def _moved(self, lesson: Lesson) -> float:
        """The cost of this step: it goes up to the dearest networks, down to the cheapest, and so on."""
        drawn = float(lesson.rng.random())
        way = float(lesson.state[WAY]) + self.reach * drawn if WAY in lesson.state else 2 * drawn
        lesson.state[WAY] = torch.tensor(way % 2, dtype=torch.float64)  # up until 1, then down
        return 1 - abs(1 - way % 2)


def _part(level: float) -> int:
    return min(int(level * LEVELS), LEVELS - 1)


def _bank(net: SuperNet, state: State) -> tuple[Tensor, Tensor]:
    """Option positions of shape (LEVELS, BANK, choices), and the losses, which are infinite where there is none."""
    networks = state.setdefault(NETWORKS, torch.zeros(LEVELS, BANK, len(net.space), dtype=torch.int64))
    return networks, state.setdefault(LOSSES, torch.full((LEVELS, BANK), torch.inf, dtype=torch.float64))


def _remember(net: SuperNet, state: State) -> None:
    """Keep the losses of the networks that learned last; new ones take the place of the worst, if they are better.

    It is done a step later, when processes that train together have the same losses: their means.
    """
    if LAST not in state:
        return
    networks, losses = _bank(net, state)
    level, *values = state[LAST_LOSSES].tolist()
    part = _part(level)
    for row, loss in zip(state[LAST], values, strict=True):
        same = (torch.isfinite(losses[part]) & (networks[part] == row).all(1)).nonzero().flatten().tolist()
        worst = int(losses[part].argmax())
        if same:
            losses[part, same[0]] = loss
        elif loss < losses[part, worst]:
            networks[part, worst], losses[part, worst] = row, loss
