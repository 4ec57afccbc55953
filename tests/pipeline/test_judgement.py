"""What is said of a model before and after training."""

from __future__ import annotations

import pytest

from netwright.core.metric import CHANCE, Measurement
from netwright.pipeline.judgement import is_trained, worry


def accuracy(value: float, spread: float = 1.0, **how: float) -> Measurement:
    return Measurement(value, "%", spread, 1000, details=how)


@pytest.mark.parametrize(
    "value, chance, trained",
    [(84, 50, True), (62, 50, False), (17, 10, False), (31, 10, False), (60, 1, True), (99, 98.9, False)],
)
def test_a_model_is_trained_where_random_weights_do_not_get(value: float, chance: float, trained: bool) -> None:
    assert is_trained(accuracy(value), chance) == trained


def test_harm_and_chance_are_said_with_what_to_do() -> None:
    good, less, chance = accuracy(84), accuracy(83), accuracy(47.5, 2, **{CHANCE: 50.2})
    assert worry(good, less, 0.1) == "" and worry(less, good, 0.1) == ""
    said = worry(good, chance, 0.1)
    assert said.startswith("training took the given model from 84.00 ± 1.00 % to 47.50 ± 2.00 % (chance), no better")
    assert "50.2 %" in said and "--train.lr (it was 0.1)" in said and "--train.epochs 0" in said
    assert worry(accuracy(50, 2, **{CHANCE: 50.2}), chance, 0.1).startswith("the largest network has 47.5")
    constant = accuracy(47.5, 2, **{CHANCE: 50.2, "constant": 1})
    assert "answers nothing else than one class" in worry(good, constant, 0.1)
