"""Exact metrics: computed from the candidate, never run and never predicted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.errors import NetwrightError, nearest
from ..core.metric import Measurement, Metric
from .base import Measurer, Subject

METRICS = {
    m.name: m
    for m in (
        Metric("macs", "", "min", exact=True),
        Metric("params", "", "min", exact=True),
        Metric("weight_bytes", "B", "min", exact=True),
        Metric("peak_activation_bytes", "B", "min", exact=True),
    )
}


class Count(Measurer):
    """One of the super-network's own counts.

    Args:
        name: ``macs``, ``params``, ``weight_bytes`` or ``peak_activation_bytes``; see
            :class:`netwright.nets.count.Counts`.
    """

    def __init__(self, name: str) -> None:
        if name not in METRICS:
            raise NetwrightError(f"there is no count {name!r}; {nearest(name, METRICS)}")
        self.metrics = (METRICS[name],)

    def measure(self, subject: Subject) -> Mapping[str, Measurement]:
        metric = self.metrics[0]
        net: Any = subject.net
        counts = net.count(subject.candidate)
        how = {"uncounted": list(counts.uncounted)} if metric.name == "macs" and counts.uncounted else {}
        return {metric.name: Measurement(getattr(counts, metric.name), metric.unit, how=how)}
