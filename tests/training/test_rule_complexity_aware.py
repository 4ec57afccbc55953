"""Complexity-aware sampling: neighbours in time cost about the same, all costs come, and good networks come again."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from small_nets import blobs, small
from spying import spied

import netwright as nw
from netwright.core.candidate import Candidate
from netwright.core.errors import RecipeError
from netwright.recipes.digits import supernet
from netwright.tasks.classification import Classification
from netwright.training.answers import Answer
from netwright.training.costs import costs_of
from netwright.training.rules import RULES, ComplexityAware, Lesson


@dataclass(frozen=True)
class Table(Lesson):
    """Nothing learns: a network's loss is known."""

    seen: list[Candidate] = field(default_factory=list)

    def learn(self, net: nw.SuperNet, candidate: Candidate, *, weight: float = 1.0) -> tuple[float, Answer]:
        self.seen.append(candidate)
        return known_loss(candidate), Answer(None)


def known_loss(candidate: Candidate) -> float:
    """Networks of kernels of 3 are good, whatever they cost."""
    kernels = [option for name, option in candidate.items() if "kernel" in name]
    return float(np.mean([option == 5 for option in kernels])) if kernels else 0.5


def walked(rule: ComplexityAware, net: nw.SuperNet, steps: int) -> Table:
    lesson = Table(None, Classification(), np.random.default_rng(0))
    for _ in range(steps):
        rule.step(net, lesson)
    return lesson


def test_costs_change_little_and_all_come() -> None:
    net, steps = supernet(), 300
    costs = costs_of(net)
    drawn = walked(ComplexityAware(random=1, exploit=0.0), net, steps).seen
    macs = np.array(net.counts(drawn).macs, dtype=float)
    shares = (macs - costs.least) / (costs.most - costs.least)
    change = np.abs(np.diff(shares))
    assert change.mean() < 0.09 and np.quantile(change, 0.95) < 0.2, "of draws over all costs the mean is a third"
    tenths, _ = np.histogram(shares, 10, (0, 1))
    assert tenths.min() > steps / 30


def test_good_networks_of_a_cost_come_again() -> None:
    net, rng = supernet(), np.random.default_rng(1)
    lesson = replace(walked(ComplexityAware(random=1), net, 300), rng=rng)
    again, new = ComplexityAware(exploit=1.0), ComplexityAware(exploit=0.0)
    gains = []
    for level in (0.35, 0.55, 0.75):
        taken = [again.draw(net, lesson, level) for _ in range(30)]
        fresh = [new.draw(net, lesson, level) for _ in range(30)]
        assert {*taken} <= {*lesson.seen} and 1 < len({*taken}) <= 8 < len({*fresh})
        gains.append(np.mean([known_loss(c) for c in fresh]) - np.mean([known_loss(c) for c in taken]))
    assert np.mean(gains) > 0.1


def test_several_of_one_cost_learn_from_the_targets() -> None:
    net, part = small(), blobs(6)
    lessons = spied(ComplexityAware(random=3), net, (part.inputs, part.targets), 4)
    assert all(len(lesson.learned) == 3 and not lesson.imitated for lesson in lessons)
    state = lessons[-1].state
    assert int(torch.isfinite(state["complexity-aware.losses"]).sum()) > 0


@pytest.mark.parametrize("text", ["random=0", "reach=0", "exploit=2"])
def test_settings_are_checked(text: str) -> None:
    with pytest.raises(RecipeError, match=r"1 or more|up to 1"):
        RULES.make(f"complexity-aware,{text}")
