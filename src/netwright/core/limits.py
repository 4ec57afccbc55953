"""Limits such as ``latency <= 5 ms``: read, with units; checked against values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite

import numpy as np

from .errors import LimitError, did_you_mean
from .metric import Measurement, Metric
from .units import BARE, UNITS, format_value

_FORM = re.compile(r"\s*([A-Za-z_][\w.]*)\s*(<=|>=|≤|≥|<|>)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(\S*)\s*")
_EXAMPLE = "write for example 'latency <= 5 ms' or 'macs <= 300M'"


@dataclass(frozen=True)
class Limit:
    """A bound on a metric, in the metric's own unit."""

    metric: str
    op: str
    bound: float
    unit: str = ""

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
        return f"{self.metric} {self.op} {format_value(self.bound, self.unit)}"


def parse_limit(text: str, metrics: Iterable[Metric]) -> Limit:
    """Read a limit on one of ``metrics``.

    Raises :class:`LimitError` for a malformed limit, an unknown metric, and a unit that the metric does not have.
    """
    known = {metric.name: metric for metric in metrics}
    match = _FORM.fullmatch(text)
    if match is None:
        raise LimitError(f"cannot read the limit {text!r}: {_EXAMPLE}")
    name, op, number, unit = match.groups()
    if name not in known:
        raise LimitError(f"the limit {text!r} names an unknown metric; {did_you_mean(name, known)}")
    metric = known[name]
    factors = UNITS.get(metric.unit, {metric.unit: 1.0})
    if not unit and metric.unit not in BARE:
        raise LimitError(f"the limit {text!r} has no unit; {name} takes one of: {', '.join(factors)}")
    if unit and unit not in factors:
        allowed = ", ".join(u for u in factors if u) or "a plain number"
        raise LimitError(f"the limit {text!r} has the unit {unit!r}; {name} takes one of: {allowed}")
    bound = float(number) * factors.get(unit, 1.0)
    if not isfinite(bound):
        raise LimitError(f"the limit {text!r} is beyond all numbers: {_EXAMPLE}")
    return Limit(name, {"≤": "<=", "≥": ">="}.get(op, op), bound, metric.unit)


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
