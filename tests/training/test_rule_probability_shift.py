"""Probability shift: costs whose losses still change come more often, and none is left out."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from small_nets import blobs, small
from spying import spied
from torch import Tensor

import netwright as nw
from netwright.core.candidate import Candidate
from netwright.core.errors import RecipeError
from netwright.tasks.classification import Classification
from netwright.training.answers import Answer
from netwright.training.costs import costs_of
from netwright.training.rules import RULES, Lesson, ProbabilityShift


@dataclass(frozen=True)
class Falling(Lesson):
    """Nothing learns: the dear half of networks loses a little at each step, the cheap half is done."""

    shares: list[float] = field(default_factory=list)

    def learn(self, net: nw.SuperNet, candidate: Candidate, *, weight: float = 1.0) -> tuple[float, Answer]:
        share = costs_of(net).share_of(candidate)
        self.shares.append(share)
        return (3.0 * 0.99 ** len(self.shares) if share > 0.5 else 1.0), Answer(None)


def test_what_still_improves_comes_more_often_and_all_have_their_floor() -> None:
    net, state, rule = small(), dict[str, Tensor](), ProbabilityShift(random=2, regions=4, floor=0.4)
    assert rule.likely(state) == pytest.approx(np.full(4, 0.25)), "equal at first"
    shares, rng = list[float](), np.random.default_rng(0)
    for _ in range(150):
        rule.step(net, Falling(None, Classification(), rng, state=state, shares=shares))
    likely = rule.likely(state)
    assert likely.sum() == pytest.approx(1) and likely.min() >= 0.1 - 1e-9
    assert likely[:2].sum() < 0.35 and likely[2:].sum() > 0.65, likely
    assert np.mean([share > 0.5 for share in shares[100:]]) > 0.55 and min(shares) < 0.1


def test_losses_that_stand_still_are_drawn_alike() -> None:
    rule = ProbabilityShift(regions=3)
    state = {"probability-shift.means": torch.tensor([[1.0, 2.0, 3.0]] * 2, dtype=torch.float64)}
    assert rule.likely(state) == pytest.approx(np.full(3, 1 / 3))
    state["probability-shift.means"][0] = torch.tensor([0.9, 2.0, 2.7])  # relative to what they are
    assert rule.likely(state) == pytest.approx([0.45, 0.1, 0.45])


def test_several_learn_from_the_targets() -> None:
    net, part = small(), blobs(6)
    lessons = spied(ProbabilityShift(random=3), net, (part.inputs, part.targets), 3)
    assert all(len(lesson.learned) == 3 and not lesson.imitated for lesson in lessons)


@pytest.mark.parametrize("text", ["random=0", "regions=0", "floor=0"])
def test_settings_are_checked(text: str) -> None:
    with pytest.raises(RecipeError, match=r"1 or more|above 0"):
        RULES.make(f"probability-shift,{text}")
