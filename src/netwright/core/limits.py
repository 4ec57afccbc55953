"""Limits such as ``latency <= 5 ms``: read, with units; checked against values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite

import numpy as np

from .errors import LimitError, did_you_mean
from .metric import Measurement, Metric
from .units import BARE, UNITS, format_value

_FORM = re.compile(
    r"\s*([A-Za-z_][\w.]*(?:@[\w.-]+)?)\s*(<=|>=|≤|≥|<|>)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(\S*)\s*"
)
_EXAMPLE = "write for example 'latency <= 5 ms', 'macs <= 300M' or 'latency <= 0.5x'"

TIMES, POINTS = ("x",), ("point", "points")
"""What stands behind numbers relative to the given model: so many times its value, so many points beside it."""


@dataclass(frozen=True)
class Limit:
    """A bound on a metric, in the metric's own unit.

    Args:
        metric: its name.
        op: ``<=``, ``>=``, ``<`` or ``>``.
        bound: the value that is compared with.
        unit: of it.
        relative: how a bound was written that is relative to the given model: ``0.5x``, ``-1 point``.
    """

    metric: str
    op: str
    bound: float
    unit: str = ""
    relative: str = field(default="", compare=False)

    def allows(self, value: float) -> bool:
        """Whether a value in the metric's unit keeps the limit."""
        match self.op:
            case "<=":
                return value <= self.bound
            case ">=":
                return value >= self.bound
            case "<":
                return value < self.bound
            case _:
                return value > self.bound

    def violation(self, value: float) -> float:
        """How far the value is beyond the bound, relative to the bound; 0 where the limit is kept."""
        if self.allows(value):
            return 0.0
        return max(abs(value - self.bound) / (abs(self.bound) or 1.0), 1e-12)

    def violations(self, values: np.ndarray) -> np.ndarray:
        """The same of many values, in the array's own shape."""
        beyond = np.maximum(np.abs(values - self.bound) / (abs(self.bound) or 1.0), 1e-12)
        return np.where(self.allows(values), 0.0, beyond)  # type: ignore[arg-type]

    def __str__(self) -> str:
        told = f"{self.metric} {self.op} {format_value(self.bound, self.unit)}"
        return f"{told} ({self.relative})" if self.relative else told


def parse_limit(text: str, metrics: Iterable[Metric], given: Mapping[str, float] | None = None) -> Limit:
    """Read a limit on one of ``metrics``.

    Args:
        text: such as ``latency <= 5 ms``; or relative to a given model: ``latency <= 0.5x``, ``accuracy >= -1 point``.
        metrics: those that there are.
        given: the values of the given model by metric name.

    Raises :class:`LimitError` for a malformed limit, an unknown metric, a unit that the metric does not have, and a
    relative limit where the value of the given model is not known.
    """
    known = {metric.name: metric for metric in metrics}
    match = _FORM.fullmatch(text)
    if match is None:
        raise LimitError(f"cannot read the limit {text!r}: {_EXAMPLE}")
    name, op, number, unit = match.groups()
    if name not in known:
        raise LimitError(f"the limit {text!r} names an unknown metric; {did_you_mean(name, known)}")
    metric, op = known[name], {"≤": "<=", "≥": ">="}.get(op, op)
    if unit in (*TIMES, *POINTS):
        return _relative(text, metric, op, number, unit, given or {})
    factors = UNITS.get(metric.unit, {metric.unit: 1.0})
    if not unit and metric.unit not in BARE:
        raise LimitError(f"the limit {text!r} has no unit; {name} takes one of: {', '.join(factors)}")
    if unit and unit not in factors:
        allowed = ", ".join(u for u in factors if u) or "a plain number"
        raise LimitError(f"the limit {text!r} has the unit {unit!r}; {name} takes one of: {allowed}")
    bound = float(number) * factors.get(unit, 1.0)
    if not isfinite(bound):
        raise LimitError(f"the limit {text!r} is beyond all numbers: {_EXAMPLE}")
    return Limit(name, op, bound, metric.unit)


def _relative(text: str, metric: Metric, op: str, number: str, unit: str, given: Mapping[str, float]) -> Limit:
    """A limit that is relative to the given model."""
    amount, signed = float(number), number[0] in "+-"
    if unit in POINTS and metric.unit != "%":
        raise LimitError(f"the limit {text!r} has points, which are of percentages: write '{metric.name} {op} 0.9x'")
    if unit in POINTS and not signed:
        raise LimitError(
            f"the limit {text!r} does not say in which direction: write '{metric.name} {op} -{number} {unit}' for "
            "below the given model, or with + for above it"
        )
    if unit in TIMES and not 0 < amount < float("inf"):
        raise LimitError(f"the limit {text!r} is a number of times the given model's value, which is more than 0")
    if metric.name not in given:
        raise LimitError(
            f"the limit {text!r} is relative to a given model, of which {metric.name} is not known here: write the "
            f"bound itself, or let 'netwright fit' or 'trim' measure the model"
        )
    value = given[metric.name]
    bound = value + amount if unit in POINTS else value * amount
    return Limit(metric.name, op, bound, metric.unit, f"{number}x" if unit in TIMES else f"{number} {unit}")


def is_relative(text: str) -> bool:
    """Whether a limit is relative to a given model."""
    match = _FORM.fullmatch(text)
    return match is not None and match.group(4) in (*TIMES, *POINTS)


def limited(text: str, metrics: Iterable[Metric]) -> str:
    """The name of the metric that a limit is on, also where that is relative to a model of which nothing is known yet.

    Raises :class:`LimitError` as :func:`parse_limit` does, but for that.
    """
    metrics = list(metrics)
    return parse_limit(text, metrics, {metric.name: 1.0 for metric in metrics}).metric


def metric_named(text: str) -> str | None:
    """The name of the metric that a limit is on, or None for a malformed limit."""
    match = _FORM.fullmatch(text)
    return match.group(1) if match else None


def check_together(limits: Iterable[Limit]) -> None:
    """Raise :class:`LimitError` where two limits on one metric cannot both be kept by any value."""
    limits = list(limits)
    for upper in (x for x in limits if x.op in ("<", "<=")):
        for lower in (x for x in limits if x.op in (">", ">=") and x.metric == upper.metric):
            both = upper.op == "<=" and lower.op == ">="
            if lower.bound > upper.bound or (lower.bound == upper.bound and not both):
                raise LimitError(
                    f"the limits {str(upper)!r} and {str(lower)!r} contradict one another: no value of {upper.metric} "
                    "keeps both; change or leave out one of them"
                )


def broken(limits: Iterable[Limit], values: Mapping[str, float]) -> list[Limit]:
    """The limits that the known values break. A metric without a value breaks nothing."""
    return [limit for limit in limits if limit.metric in values and not limit.allows(values[limit.metric])]


def explain(limits: Iterable[Limit], measurements: Mapping[str, Measurement]) -> str:
    """Which limits are broken and by what, as a record's reason."""
    return explain_values(limits, {name: m.value for name, m in measurements.items()})


def explain_values(limits: Iterable[Limit], values: Mapping[str, float]) -> str:
    """The same of the values of measurements."""
    said = []
    for limit in broken(limits, values):
        value, bound = apart(values[limit.metric], limit)
        said.append(f"{limit.metric} is {value}, the limit is {limit.metric} {limit.op} {bound}")
    return "; ".join(said)


def apart(value: float, limit: Limit) -> tuple[str, str]:
    """A value and the bound of a limit on it as texts, with digits enough to tell them apart."""
    digits = next(
        (d for d in range(3, 17) if format_value(value, limit.unit, d) != format_value(limit.bound, limit.unit, d)), 17
    )
    return format_value(value, limit.unit, digits), format_value(limit.bound, limit.unit, digits)
