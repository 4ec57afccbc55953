"""Attentive sampling: who learns is the best, or the worst, of several of one cost."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_nets import blobs, small
from spying import spied
from torch.nn import functional as F

import netwright as nw
from netwright.core.errors import RecipeError
from netwright.tasks.classification import Classification
from netwright.training.costs import costs_of
from netwright.training.rules import RULES, Attentive, Lesson

PART = blobs(12)
BATCH = PART.inputs, PART.targets


def loss_of(net: nw.SuperNet, candidate: object) -> float:
    with net.active(candidate) as module, torch.no_grad():  # type: ignore[arg-type]
        return float(F.cross_entropy(module(BATCH[0]), BATCH[1]))


@pytest.mark.parametrize("prefer, picks", [("best", min), ("worst", max)])
def test_the_best_or_the_worst_of_several_of_one_cost_learns(prefer: str, picks: object) -> None:
    net = small()
    net.module.eval()
    rule: Attentive = RULES.make(f"attentive,prefer={prefer},among=5")  # type: ignore[assignment]
    for seed in range(6):
        picked = rule.draw(net, Lesson(BATCH, Classification(), np.random.default_rng(seed)))
        rng = np.random.default_rng(seed)
        first, costs = net.space.sample(rng), costs_of(net)
        several = [first, *(costs.draw(costs.share_of(first), rng) for _ in range(4))]
        assert picked == picks(several, key=lambda c: loss_of(net, c))  # type: ignore[operator]
        assert np.ptp([costs.share_of(c) for c in several]) < 0.3


def test_it_is_a_sandwich_and_judging_leaves_no_trace() -> None:
    net = small()
    net.module.train()
    (lesson,) = spied(Attentive(random=3), net, BATCH, 1)
    assert [c for c, _ in lesson.learned] == [net.largest]
    assert lesson.imitated[0][0] == net.smallest and len(lesson.imitated) == 4
    before = {k: v.clone() for k, v in net.module.state_dict().items()}
    net.module.zero_grad()
    Lesson(BATCH, Classification(), np.random.default_rng(0)).judge(net, net.smallest)
    assert all(p.grad is None for p in net.module.parameters())
    assert all(torch.equal(v, before[k]) for k, v in net.module.state_dict().items())


@pytest.mark.parametrize(
    "text, words",
    [("prefer=good", "one of best, worst"), ("among=0", "among is 1 or more"), ("targets=-1", "from 0 to 1")],
)
def test_settings_are_checked(text: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        RULES.make(f"attentive,{text}")
