"""What is said of a given model before training, and of what training made of it."""

from __future__ import annotations

from collections.abc import Mapping
from math import hypot

from ..core.metric import CHANCE, Measurement, Metric
from ..report.data import format_measurement
from ..training.defaults import is_trained
from .context import Context


def judge_given(context: Context) -> tuple[Mapping[str, Measurement], bool | None, float | None]:
    """The figures of the given model on the validation data, whether it comes trained (one with its own head does,
    unless a constant answer is as good), and what a constant answer has by the first metric: None where the task does
    not know that."""
    assert context.validation is not None
    network, _ = context.network(context.source.space.largest)
    evaluator, metric = context.validation.evaluate(network), context.validation.metrics[0]
    found, baseline = context.validation.result_of(evaluator), evaluator.baseline().get(metric.name)
    if baseline is None:
        return found, None, None
    value = found[metric.name]
    own_head = context.source.pretrained and not context.source.new_head
    better = metric.loss(value.value) < metric.loss(baseline)
    return found, (own_head and better) or is_trained(metric, value, baseline), baseline


def worry(metric: Metric, given: Measurement, trained: Measurement, optimizer: str) -> str:
    """What is wrong with a training, in words; empty where nothing is.

    Args:
        metric: what is measured.
        given: of the largest network as it was given.
        trained: of it after training.
        optimizer: with its learning rate.
    """
    advice = (
        f"give a lower learning rate in --train.optimizer (it was {optimizer}), or --train.epochs 0 to keep the "
        "weights as they are given"
    )
    worse = metric.loss(trained.value) - metric.loss(given.value)
    if not given.at_chance and worse > hypot(given.ci95, trained.ci95):
        useless = f", {_useless(trained)}" if trained.at_chance else ""
        before, after = format_measurement(given), format_measurement(trained)
        return f"training took the given model from {before} to {after}{useless}; {advice}"
    if not trained.at_chance:
        return ""
    found = f"the largest network has {format_measurement(trained)} after training, {_useless(trained)}"
    if not given.at_chance:
        return f"{found}; {advice}"
    if worse < 0:
        more = f"give more in --train.epochs, or a higher learning rate in --train.optimizer (it was {optimizer})"
        return f"{found}, and had {format_measurement(given)} before: it learns, but slowly; {more}"
    return f"{found}; give another learning rate in --train.optimizer (it was {optimizer}), or more in --train.epochs"


def _useless(found: Measurement) -> str:
    constant = " (and it answers nothing else than one class)" if "constant" in found.details else ""
    return f"no better than a constant answer, {found.details[CHANCE]:.4g} {found.unit}".rstrip() + constant
