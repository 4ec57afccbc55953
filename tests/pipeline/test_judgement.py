"""What is said of a model before and after training."""

from __future__ import annotations

import pytest

from netwright.core.metric import CHANCE, Measurement, Metric
from netwright.pipeline.judgement import worry
from netwright.training.defaults import is_trained

SGD = "sgd,lr=0.1"
ACCURACY, ERROR = Metric("accuracy", "%", "max"), Metric("mae", "kW")


def accuracy(value: float, spread: float = 1.0, **how: float) -> Measurement:
    return Measurement(value, "%", spread, 1000, details=how)


@pytest.mark.parametrize(
    "value, chance, trained",
    [(84, 50, True), (62, 50, False), (17, 10, False), (31, 10, False), (60, 1, True), (99, 98.9, False)],
)
def test_a_model_is_trained_where_random_weights_do_not_get(value: float, chance: float, trained: bool) -> None:
    assert is_trained(ACCURACY, accuracy(value), chance) == trained


def test_harm_and_chance_are_said_with_what_to_do() -> None:
    good, less, chance = accuracy(84), accuracy(83), accuracy(47.5, 2, **{CHANCE: 50.2})
    assert worry(ACCURACY, good, less, SGD) == "" and worry(ACCURACY, less, good, SGD) == ""
    said = worry(ACCURACY, good, chance, SGD)
    assert said.startswith("training took the given model from 84.00 ± 1.00 % to 47.50 ± 2.00 % (chance), no better")
    assert "50.2 %" in said and "--train.optimizer (it was sgd,lr=0.1)" in said and "--train.epochs 0" in said
    assert worry(ACCURACY, accuracy(50, 2, **{CHANCE: 50.2}), chance, SGD).startswith("the largest network has 47.5")
    fresh = accuracy(44, 2, **{CHANCE: 50.2})
    said = worry(ACCURACY, fresh, chance, SGD)
    assert "44.00 ± 2.00 % (chance) before" in said and "more in --train.epochs, or a higher learning rate" in said
    said = worry(ACCURACY, chance, fresh, SGD)
    assert "another learning rate" in said and "--train.epochs 0" not in said
    constant = accuracy(47.5, 2, **{CHANCE: 50.2, "constant": 1})
    assert "answers nothing else than one class" in worry(ACCURACY, good, constant, SGD)


@pytest.mark.parametrize("value, trained", [(2.0, True), (7.0, True), (7.4, False), (9.0, False), (12.0, False)])
def test_errors_are_better_the_smaller_they_are(value: float, trained: bool) -> None:
    def error(value: float, **details: float) -> Measurement:
        return Measurement(value, "kW", 0.2, 100, details=details)

    assert is_trained(ERROR, error(value), 10.0) == trained
    assert worry(ERROR, error(9), error(2), SGD) == ""
    assert worry(ERROR, error(2), error(5), SGD).startswith("training took the given model from 2")
    useless = worry(ERROR, error(2), error(11, **{CHANCE: 10.0}), SGD)
    assert "no better than a constant answer, 10 kW" in useless
