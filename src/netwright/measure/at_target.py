"""Measurers of several targets side by side: each metric has the name of its target, such as ``latency@pi``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from ..core.metric import Measurement, Metric
from .base import EvaluationContext, Measurer, Place

Found = TypeVar("Found")


def at(name: str, found: Mapping[str, Found]) -> dict[str, Found]:
    """What was found on a target, by the names that its metrics have beside those of others.

    Args:
        name: of the target; empty where there is one alone, whose metrics keep their names.
        found: by the metrics' own names.
    """
    return {f"{metric}@{name}" if name else metric: value for metric, value in found.items()}


class AtTarget(Measurer):
    """A measurer of one of several targets.

    Args:
        measurer: that measures there.
        name: of the target.
    """

    def __init__(self, measurer: Measurer, name: str) -> None:
        self.measurer, self.name = measurer, name
        self.metrics = tuple(self._named(metric) for metric in measurer.metrics)
        self.depends_on_weights, self.on_device = measurer.depends_on_weights, measurer.on_device
        self.races = measurer.races

    def _named(self, metric: Metric) -> Metric:
        best = f"{metric.superlative} on {self.name}" if metric.superlative else ""
        return replace(metric, name=f"{metric.name}@{self.name}", superlative=best)

    @property
    def code(self) -> Any:
        return self.measurer.code

    @property
    def place(self) -> Place | None:
        return self.measurer.place

    def prepare(self, context: EvaluationContext) -> None:
        self.measurer.prepare(context)

    def measure(self, context: EvaluationContext) -> Mapping[str, Measurement]:
        return at(self.name, self.measurer.measure(context))

    def require(self) -> None:
        self.measurer.require()

    def clock(self) -> float:
        return self.measurer.clock()

    def provenance(self) -> Mapping[str, Any]:
        return at(self.name, self.measurer.provenance())
