"""Exact metrics: computed from the candidate, never run and never predicted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..core.errors import MeasureError, NetwrightError, did_you_mean
from ..core.metric import Measurement, Metric
from .base import EvaluationContext, ManyCandidates, Measurer

METRICS = {
    m.name: m
    for m in (
        Metric("macs", "", "min", exact=True, superlative="fewest MACs"),
        Metric("params", "", "min", exact=True, superlative="smallest"),
        Metric("weight_bytes", "B", "min", exact=True),
        Metric("peak_activation_bytes", "B", "min", exact=True),
        Metric("moved_bytes", "B", "min", exact=True),
        Metric("bit_ops", "", "min", exact=True),
    )
}


class Count(Measurer):
    """One of the super-network's own counts.

    Args:
        name: ``macs``, ``bit_ops``, ``params``, ``weight_bytes``, ``peak_activation_bytes`` or ``moved_bytes``; see
            :class:`netwright.nets.counts.Counts`.
    """

    def __init__(self, name: str) -> None:
        if name not in METRICS:
            raise NetwrightError(f"there is no count {name!r}; {did_you_mean(name, METRICS)}")
        self.metrics = (METRICS[name],)

    def measure(self, context: EvaluationContext) -> Mapping[str, Measurement]:
        count: Any = getattr(context.net, "count", None)
        if count is None:
            raise MeasureError(
                "this super-network does not count: measure its networks with netwright.NetworkCounts() instead"
            )
        return _measurements(self.metrics, count(context.candidate))

    def compute(self, many: ManyCandidates) -> Mapping[str, np.ndarray] | None:
        counts = counts_of(many)
        return None if counts is None else {m.name: getattr(counts, m.name) for m in self.metrics}


def counts_of(many: ManyCandidates) -> Any:
    """All counts of candidates, as :class:`netwright.nets.counts.ManyCounts`; None where the super-network counts one
    by one."""
    counts: Any = getattr(many.net, "counts", None)
    return None if counts is None else many.once("counts", lambda: counts(many.candidates))


class NetworkCounts(Measurer):
    """The same counts of networks that a super-network made elsewhere extracts.

    Each costs an extraction and a trace: too much to do for every proposal, so strategies predict them.
    """

    metrics = tuple(replace(metric, exact=False) for metric in METRICS.values())

    def measure(self, context: EvaluationContext) -> Mapping[str, Measurement]:
        from ..nets.supernet import SuperNet

        net = SuperNet(context.module, [], context.example_inputs)
        return _measurements(self.metrics, net.count(net.largest))


def _measurements(metrics: tuple[Metric, ...], counts: Any) -> dict[str, Measurement]:
    how = {"uncounted": list(counts.uncounted)} if counts.uncounted else {}
    return {
        m.name: Measurement(getattr(counts, m.name), m.unit, kind="exact", details=how if m.name == "macs" else {})
        for m in metrics
    }
