"""What is said of a given model before training, and of what training made of it."""

from __future__ import annotations

from math import hypot

from ..core.metric import CHANCE, Measurement
from ..report.data import format_measurement

FRESH_LR = 0.1
"""The highest learning rate for weights that have learned nothing yet."""
TRAINED_LR = 0.01
"""That for weights that come trained, which the other would undo."""
ABLE = 0.25
"""How far from a constant answer's accuracy to 100 % a model is that counts as trained: random weights get some way."""


def is_trained(given: Measurement, chance: float) -> bool:
    """Whether a given model is far enough above what a constant answer has to have been trained.

    Args:
        given: its accuracy, in percent.
        chance: the share of the most frequent class, in percent.
    """
    return given.value - given.ci95 > chance + ABLE * (100 - chance)


def worry(given: Measurement, trained: Measurement, lr: float) -> str:
    """What is wrong with a training, in words; empty where nothing is.

    Args:
        given: accuracy of the largest network as it was given.
        trained: its accuracy after training.
        lr: the highest learning rate.
    """
    advice = f"give a lower --train.lr (it was {lr:g}), or --train.epochs 0 to keep the weights as they are given"
    if not given.at_chance and given.value - trained.value > hypot(given.ci95, trained.ci95):
        useless = f", {_useless(trained)}" if trained.at_chance else ""
        before, after = format_measurement(given), format_measurement(trained)
        return f"training took the given model from {before} to {after}{useless}; {advice}"
    if trained.at_chance:
        return f"the largest network has {format_measurement(trained)} after training, {_useless(trained)}; {advice}"
    return ""


def _useless(found: Measurement) -> str:
    constant = " (and it answers nothing else than one class)" if "constant" in found.details else ""
    return f"no better than a constant answer, {found.details[CHANCE]:.4g} %{constant}"
