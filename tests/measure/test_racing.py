"""Racing: the interval's coverage, where measuring stops, and on how much it then stands."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import cache
from math import comb
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import netwright as nw
from netwright.core.metric import CHANCE
from netwright.measure.base import EvaluationContext, Race
from netwright.measure.quality import LOOKS
from netwright.tasks.statistics import most_right, proportion

TOTAL = 400


class Echo(nn.Module):
    """The scores are the inputs."""

    def forward(self, x: Tensor) -> Tensor:
        return x


class EchoNet:
    space = nw.Space([nw.Choice("a", (1,))])

    def extract(self, candidate: nw.Candidate) -> nn.Module:
        return Echo()


class Loader:
    """Batches of answers of which ``right`` are right, in random or another order; counts what was taken."""

    def __init__(self, right: int, size: int = 25, order: Callable[[Tensor], Tensor] | None = None) -> None:
        generator = torch.Generator().manual_seed(right)
        labels = torch.randint(4, (TOTAL,), generator=generator)
        if order is not None:
            labels = order(labels)
        wrong = torch.randperm(TOTAL, generator=generator)[right:]
        answers = labels.clone()
        answers[wrong] = (labels[wrong] + 1) % 4
        self.inputs, self.labels, self.size, self.taken = torch.eye(4)[answers], labels, size, 0

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, TOTAL, self.size):
            labels = self.labels[start : start + self.size]
            self.taken += len(labels)
            yield self.inputs[start : start + self.size], labels


def measured(loader: Any, race: Race | None) -> Any:
    return nw.Accuracy(loader).measure(EvaluationContext(EchoNet(), EchoNet.space.smallest, (), race))["accuracy"]


def against(rival: float, confidence: float = 0.95) -> Race:
    """A race against one record of this accuracy that is better in all else."""
    return Race(confidence, {"accuracy": TOTAL}, lambda name, best: best <= rival)


# -- the interval ------------------------------------------------------------------------------------------------


@cache
def below(right: int, seen: int, total: int, k: int) -> float:
    """The probability of at most ``right`` right among ``seen``, where ``k`` of ``total`` are: by counting."""
    ways = sum(comb(k, r) * comb(total - k, seen - r) for r in range(right + 1))
    return ways / comb(total, seen)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_the_upper_end_is_the_last_number_that_is_likely_enough(data: st.DataObject) -> None:
    total = data.draw(st.integers(2, 120))
    seen = data.draw(st.integers(1, total))
    right = data.draw(st.integers(0, seen))
    chance = data.draw(st.sampled_from([0.2, 0.05, 0.0125, 1e-4]))
    most = most_right(right, seen, total, chance)
    assert right <= most <= total - (seen - right)
    assert most == right or below(right, seen, total, most) > chance
    assert most == total - (seen - right) or below(right, seen, total, most + 1) <= chance * (1 + 1e-9)


def test_all_seen_leaves_no_doubt() -> None:
    assert most_right(37, 50, 50, 0.05) == 37


@pytest.mark.parametrize("share", [0.5, 0.9, 0.98])
def test_the_race_as_a_whole_keeps_its_confidence(share: float) -> None:
    """A network that equals its rival is stopped (its end falls below the truth) at one of all looks in at most 5 %
    of random orders; the bound is not so loose that it never is."""
    truth, rng, confidence = round(share * TOTAL), np.random.default_rng(0), 0.95
    answers = np.arange(TOTAL) < truth
    missed = 0
    for _ in range(1500):
        order = rng.permutation(answers)
        for look in LOOKS:
            seen = round(look * TOTAL)
            right = int(order[:seen].sum())
            if below(right, seen, TOTAL, truth) <= (1 - confidence) / len(LOOKS):
                assert most_right(right, seen, TOTAL, (1 - confidence) / len(LOOKS)) < truth
                missed += 1
                break
    assert 0.005 < missed / 1500 <= 0.05 + 0.012  # two standard errors of 1,500 draws


# -- the measurement ---------------------------------------------------------------------------------------------


def test_a_hopeless_network_is_stopped_at_the_first_look_and_says_so() -> None:
    loader = Loader(right=120)
    found = measured(loader, against(99.0))
    assert found.n == loader.taken == TOTAL // 8
    assert (found.kind, found.details) == ("partial", {"of": TOTAL, "confidence": 0.95})
    assert found.best_case is not None and found.value < found.best_case < 99.0
    right = round(found.value * found.n / 100)
    assert found.ci95 == proportion(right, found.n).ci95
    chance = 0.05 / len(LOOKS)
    assert round(found.best_case * TOTAL / 100) == most_right(right, found.n, TOTAL, chance)


def test_the_nearer_the_rival_the_longer_the_race() -> None:
    taken = [measured(Loader(right=320), against(rival)).n for rival in (99.0, 90.0, 85.0, 83.0, 80.5)]
    assert taken == sorted(taken) and taken[0] < taken[2] < taken[-1] == TOTAL


@pytest.mark.parametrize("race", [None, Race(0.95, {}, lambda name, best: True), against(80.0)])
def test_who_does_not_lose_is_measured_whole_as_ever(race: Race | None) -> None:
    loader = Loader(right=320)
    found = measured(loader, race)
    assert found == nw.Accuracy(Loader(right=320)).of(Echo())
    assert (found.value, found.n, dict(found.details)) == (80.0, TOTAL, {})


def test_looks_are_at_the_ends_of_batches() -> None:
    assert measured(Loader(right=40, size=120), against(99.0)).n == 120
    assert measured(Loader(right=40, size=TOTAL), against(99.0)).n == TOTAL
    seen: list[float] = []
    watch = Race(0.95, {"accuracy": TOTAL}, lambda name, best: bool(seen.append(best)))
    measured(Loader(right=200, size=10), watch)
    assert len(seen) == len(LOOKS)
    seen.clear()
    measured(Loader(right=200, size=250), watch)
    assert len(seen) == 1, "one look where a batch passes several"


def test_a_surer_race_is_a_longer_one() -> None:
    ends = [measured(Loader(right=200), against(99.0, c)).best_case for c in (0.5, 0.95, 0.999)]
    assert ends == sorted(set(ends))


def test_examples_in_the_order_of_their_labels_are_found_out() -> None:
    def by_label(labels: Tensor) -> Tensor:
        return labels.sort().values

    with pytest.warns(UserWarning, match="order of their labels"):
        found = measured(Loader(right=120, order=by_label), against(99.0))
    assert (found.n, found.details.keys()) == (TOTAL, {CHANCE}), "30 % is what a constant answer has too"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert measured(Loader(right=120), against(99.0)).n < TOTAL


def test_a_network_that_is_stopped_is_left_without_gradients_and_grad_mode_as_it_was() -> None:
    with torch.enable_grad():
        measured(Loader(right=120), against(99.0))
        assert torch.is_grad_enabled()
