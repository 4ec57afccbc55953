"""Probability shift: costs whose networks are still improving are drawn more often."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch

from ...core.errors import RecipeError
from ...nets.supernet import SuperNet
from ..costs import Count, costs_of
from ..lesson import Lesson
from ..steps import State
from .base import Rule

FAST, SLOW = 0.8, 0.95
"""How much of two moving averages of the losses stays at each new one: what they differ by is the improvement."""

MEANS = "probability-shift.means"


@dataclass(frozen=True)
class ProbabilityShift(Rule):
    """A few sub-networks learn from the targets; how often those of a cost come follows how much they still change.

    Zhang et al., "ShiftNAS: improving one-shot NAS via probability shift" (2023): the range of costs is cut
    into regions; the probability of each follows the variation of its networks' performance, since uniform draws train
    medium costs too much and the ends too little. The variation is taken of the losses: by how much the recent ones
    differ from the earlier ones of the same region, relative to them. A network of a cost is drawn as
    :class:`netwright.training.costs.Costs` does, in place of their learned generator. The sampling of the training has
    no say.

    Args:
        random: how many sub-networks learn from each batch.
        regions: of the range of costs.
        floor: the share of the probability that all regions have alike.
        count: what a cost is: a count such as ``macs`` or ``params``.
    """

    random: int = 2
    regions: int = 8
    floor: float = 0.3
    count: Count = "macs"

    def __post_init__(self) -> None:
        if self.random < 1 or self.regions < 1:
            raise RecipeError(
                f"random is a number of sub-networks, and regions of regions, 1 or more, not {self.random} and "
                f"{self.regions}"
            )
        if not 0 < self.floor <= 1:
            raise RecipeError(f"floor is a share of the probability, above 0 and up to 1, not {self.floor}")

    def step(self, net: SuperNet, lesson: Lesson) -> float:
        costs, likely = costs_of(net, self.count), self.likely(lesson.state)
        regions = [int(lesson.rng.choice(self.regions, p=likely)) for _ in range(self.random)]
        values = list[float]()
        for region in regions:
            candidate = costs.draw((region + float(lesson.rng.random())) / self.regions, lesson.rng)
            values.append(lesson.learn(net, candidate)[0])
            self._note(region, values[-1], lesson.state)
        return fmean(values)

    def likely(self, state: State) -> np.ndarray:
        """The probability of each region; equal until every region has been met."""
        equal = np.full(self.regions, 1 / self.regions)
        if MEANS not in state or not torch.isfinite(state[MEANS]).all():
            return equal
        fast, slow = state[MEANS].numpy()
        variation = np.abs(slow - fast) / np.maximum(np.abs(slow), 1e-12)
        total = variation.sum()
        return self.floor * equal + (1 - self.floor) * variation / total if total > 0 else equal

    def _note(self, region: int, loss: float, state: State) -> None:
        means = state.setdefault(MEANS, torch.full((2, self.regions), torch.nan, dtype=torch.float64))
        known = bool(torch.isfinite(means[0, region]))
        stays = torch.tensor([FAST, SLOW] if known else [0.0, 0.0], dtype=torch.float64)
        means[:, region] = torch.nan_to_num(means[:, region]) * stays + (1 - stays) * loss
