"""Predictions in place of measurements, where a device is slow."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Reversible, Sequence
from itertools import islice

import numpy as np

from ..core.candidate import Candidate
from ..core.front import losses, nondominated
from ..core.limits import Limit, broken
from ..core.metric import Measurement, Metric
from ..core.record import Record
from ..measure.base import Measurer
from ..strategies import STRATEGIES
from ..strategies.base import Problem, Strategy

SLOW_MEASUREMENT_S = 5.0
"""Seconds on a device from which a network is only measured there where its figures cannot be predicted."""

MAX_RELATIVE_CI = 0.05
"""Half the 95 % interval, relative to the value, up to which a prediction stands for a measurement."""

RECENT = 20
"""Measurements by which it is judged whether the device is slow."""


def predict_measurements(
    measurers: Sequence[Measurer],
    needed: Collection[str],
    strategy: Strategy,
    problem: Problem,
    records: Reversible[Record],
    candidate: Candidate,
) -> dict[str, Measurement]:
    """What the strategy predicts of the needed metrics that are measured on a slow device, by name.

    Of each measurer all or nothing: nothing where one is not predicted narrowly, or a limit lies within what it may be.
    """
    if not any(measurer.on_device for measurer in measurers):
        return {}
    last = (r.provenance["device_seconds"] for r in reversed(records) if "device_seconds" in r.provenance)
    recent = list(islice(last, RECENT))
    if not recent or float(np.median(recent)) < SLOW_MEASUREMENT_S:
        return {}
    took = sum("device_seconds" in r.provenance for r in records)
    found: dict[str, Measurement] = {}
    for measurer in measurers:
        own = [m for m in measurer.metrics if m.name in needed]
        if not measurer.on_device or not own:
            continue
        told = strategy.predict_metrics(problem, list(records), candidate, [m.name for m in own])
        by = {"predictor": STRATEGIES.text(strategy)}
        each = {m.name: _prediction(m, told.get(m.name), problem.limits, took, by) for m in own}
        if all(each.values()):
            found |= {name: m for name, m in each.items() if m}
    return found


def _prediction(
    metric: Metric, told: tuple[float, float] | None, limits: Sequence[Limit], n: int, by: Mapping[str, str]
) -> Measurement | None:
    """One metric's, or None where it is not known well enough to stand for a measurement."""
    if told is None:
        return None
    value, half = told
    low, high = value - half, value + half
    split = any(x.metric == metric.name and x.allows(low) != x.allows(high) for x in limits)
    if half > MAX_RELATIVE_CI * value or split:
        return None
    best = low if metric.direction == "min" else high
    return Measurement(value, metric.unit, half, n, "predicted", by, best_case=best)


def is_predicted(record: Record, limits: Sequence[Limit], needed: Collection[str]) -> bool:
    """Whether all that is not measured was predicted, and that is all that is asked for, or breaks a limit."""
    open_ = record.best_cases
    if record.status == "failed" or not open_ or any(record.measurements[m].kind != "predicted" for m in open_):
        return False
    return bool(broken(limits, record.values)) or set(needed) <= record.values.keys()


def needs_measurement(
    predicted: Sequence[Record], front: Sequence[Record], objectives: Sequence[Metric], limits: Sequence[Limit]
) -> list[Record]:
    """Of records of which something was predicted, those that are on the front if it comes true."""
    possible = [r for r in predicted if not broken(limits, r.values)]
    if not possible:
        return []
    best = nondominated(losses([*front, *possible], objectives))[-len(possible) :]
    return [r for r, first in zip(possible, best, strict=True) if first]
