"""Sorted training: what learns lies within one another."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_nets import blobs, small
from spying import spied
from torch.nn import functional as F

import netwright as nw
from netwright.core.candidate import Candidate
from netwright.core.errors import RecipeError
from netwright.nets.families.inverted_residual import inverted_residual
from netwright.training.kinds import kinds_of
from netwright.training.rules import RULES, Sorted
from netwright.training.sampling import Cost

PART = blobs(6)
BATCH = PART.inputs, PART.targets


def levelled() -> nw.SuperNet:
    torch.manual_seed(0)
    return inverted_residual(
        1, 3, 4, widths=((2, 4, 6), (3, 6, 9)), depths=((1, 2), (1, 2, 3)), expands=(1, 2, 3), kernels=(1, 3, 5)
    )


def places(net: nw.SuperNet, candidate: Candidate) -> dict[str, int]:
    return {c.name: c.options.index(candidate[c.name]) for c in net.space if c.name in candidate}


def test_of_two_networks_with_levels_in_order_one_lies_within_the_other() -> None:
    net, kinds = levelled(), kinds_of(levelled())
    lessons = spied(Sorted(networks=1), net, BATCH, 60)
    drawn = list({lesson.everyone[0]: 0 for lesson in lessons})
    levels = []
    for candidate in drawn:
        at = places(net, candidate)
        threes = {k: {at[n] for n in at if kinds[n] == k and len(net.space[n].options) == 3} for k in kinds.values()}
        assert all(len(found) <= 1 for found in threes.values()), "one level of each kind"
        levels.append({k: found.copy().pop() if found else None for k, found in threes.items()})
    pairs = 0
    for i, small_ in enumerate(drawn):
        for j, large in enumerate(drawn):
            if i != j and all(levels[i][k] <= levels[j][k] for k in levels[i]):  # type: ignore[operator]
                pairs += 1
                low, high = places(net, small_), places(net, large)
                assert low.keys() <= high.keys() and all(low[n] <= high[n] for n in low)
    assert pairs > 20 and 20 < len(drawn) <= 27, "all combinations of three levels of three kinds"


def test_the_gradient_is_the_mean_of_several() -> None:
    net = small()
    (lesson,) = spied(Sorted(networks=3), net, BATCH, 1)
    got = {name: p.grad.clone() for name, p in net.module.named_parameters() if p.grad is not None}
    net.module.zero_grad()
    assert len(lesson.everyone) == 3
    for candidate in lesson.everyone:
        with net.active(candidate) as module:
            (F.cross_entropy(module(BATCH[0]), BATCH[1]) / 3).backward()
    for name, p in net.module.named_parameters():
        torch.testing.assert_close(got.get(name), p.grad)


def test_sampling_by_cost_reaches_the_ends_more_often() -> None:
    net, rule = levelled(), Sorted(networks=2)
    ends = {net.smallest, net.largest}
    count = [
        sum(c in ends for lesson in spied(rule, net, BATCH, 40, **how) for c in lesson.everyone)
        for how in ({}, {"sampling": Cost()})
    ]
    assert count[1] > 2 * max(count[0], 1), count


def test_menus_are_drawn_each_by_itself() -> None:
    model = torch.nn.Sequential(
        torch.nn.Flatten(), nw.oneof(torch.nn.Identity(), torch.nn.ReLU()),
        nw.oneof(torch.nn.Identity(), torch.nn.Tanh()), torch.nn.Linear(16, 3),
    )  # fmt: skip
    net = nw.SuperNet(model, [nw.OneOf.of(model, "1"), nw.OneOf.of(model, "2")], torch.zeros(1, 1, 4, 4))
    drawn = [c for lesson in spied(Sorted(), net, BATCH, 20) for c in lesson.everyone]
    assert len(set(drawn)) == 4 and np.mean([c["1.option"] == c["2.option"] for c in drawn]) < 0.8


def test_settings_are_checked() -> None:
    with pytest.raises(RecipeError, match="1 or more"):
        RULES.make("sorted,networks=0")
