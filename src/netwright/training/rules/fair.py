"""Strict fairness: every option learns as often as the others of its choice."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

import torch

from ...core.candidate import Candidate, Option
from ...core.space import Choice
from ...nets.supernet import SuperNet
from ..lesson import Lesson
from .base import Rule


@dataclass(frozen=True)
class Fair(Rule):
    """Each step teaches as many sub-networks as the choice with most options has, and each option equally often.

    Chu et al., "FairNAS: rethinking evaluation fairness of weight sharing neural architecture search" (2021), section
    3.2: strict fairness, whose gradients move the weights once, together. Of two options of a choice neither has ever
    learned more than once more often than the other; so it is too for choices with fewer options than others, and for
    those that are not always active. The sampling of the training has no say.
    """

    def step(self, net: SuperNet, lesson: Lesson) -> float:
        most = max((len(choice.options) for choice in net.space), default=1)
        return fmean(lesson.learn(net, self.draw(net, lesson))[0] for _ in range(most))

    def draw(self, net: SuperNet, lesson: Lesson) -> Candidate:
        """The next sub-network: of each choice an option that is behind, at random where several are."""
        most = max((len(choice.options) for choice in net.space), default=1)
        taught = lesson.state.setdefault("fair", torch.zeros(len(net.space), most, dtype=torch.int64))
        places = {choice.name: i for i, choice in enumerate(net.space)}

        def behind(choice: Choice) -> Option:
            counts = taught[places[choice.name], : len(choice.options)].tolist()
            least = [i for i, count in enumerate(counts) if count == min(counts)]
            i = least[int(lesson.rng.integers(len(least)))]
            taught[places[choice.name], i] += 1
            return choice.options[i]

        return net.space.build(behind)
