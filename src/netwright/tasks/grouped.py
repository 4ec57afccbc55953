"""Evaluators whose figures follow from sums over examples, with intervals by leaving out groups of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..core.errors import MeasureError
from ..core.metric import CHANCE, Measurement, Metric
from ..nets.inputs import describe
from .base import Evaluator
from .data import size_of
from .statistics import GROUPS, jackknife, require_examples


class GroupedEvaluator(Evaluator):
    """Keeps sums over examples, one for each of several groups, from which every figure follows.

    Args:
        metrics: what is found.
    """

    finds_shares = False
    """Whether all figures are made of shares, in percent."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = tuple(metrics)
        self._sums: Tensor | None = None
        self._examples = 0
        self._counted = 0

    @abstractmethod
    def figures(self, sums: Tensor) -> dict[str, float]:
        """The metrics by name, of sums over examples."""

    def add(self, each: Tensor, counted: int) -> int:
        """Add a batch; returns ``counted``.

        Args:
            each: what is summed, of shape (examples, ...); the rest of the shape is the same for all batches.
            counted: how many examples, tokens or pixels of it count.
        """
        each = each.detach().to("cpu", torch.float64)
        if self._sums is None:
            self._sums = torch.zeros(GROUPS, *each.shape[1:], dtype=torch.float64)
        if self._sums.shape[1:] != each.shape[1:]:
            raise MeasureError(
                f"batches are of different kinds: figures are summed over {tuple(each.shape[1:])} values after "
                f"{tuple(self._sums.shape[1:])}; the outputs must have the same classes or columns each time"
            )
        groups = (torch.arange(len(each)) + self._examples) % GROUPS
        self._sums.index_add_(0, groups, each)
        self._examples += len(each)
        self._counted += counted
        return counted

    def result(self) -> dict[str, Measurement]:
        require_examples(self._metrics[0].name, self._counted)
        assert self._sums is not None
        whole = self._sums.sum(0)
        values = self.figures(whole)
        groups = min(GROUPS, self._examples)
        left_out = [self.figures(whole - self._sums[g]) for g in range(groups)] if groups > 1 else []
        found = {}
        for metric in self._metrics:
            others = [each[metric.name] for each in left_out if metric.name in each]
            shares_of = self._examples * self.finds_shares
            found[metric.name] = jackknife(values[metric.name], others, metric.unit, self._counted, shares_of)
        return {metric.name: self._judged(metric, found[metric.name]) for metric in self._metrics}

    def _judged(self, metric: Metric, found: Measurement) -> Measurement:
        """A figure, with what a constant answer has where that is as good."""
        base = self.baseline().get(metric.name)
        if base is None or metric.loss(found.value) + found.ci95 < metric.loss(base):
            return found
        return replace(found, details={CHANCE: base})


class MeanEvaluator(GroupedEvaluator):
    """Means over examples: of values that functions give for each, or of a batch as a whole.

    Args:
        values: a metric and a function of outputs and targets, that gives a tensor with a value for each example, or
            one number, the batch's mean.
    """

    def __init__(self, values: Mapping[Metric, Callable[[Any, Any], Any]]) -> None:
        super().__init__(tuple(values))
        self._values = values

    def update(self, outputs: Any, targets: Any) -> int:
        found = [self._each(metric, value(outputs, targets)) for metric, value in self._values.items()]
        size = max((len(each) for each in found if each.dim()), default=size_of(targets))
        columns = []
        for metric, each in zip(self._values, found, strict=True):
            if each.dim() and len(each) != size:
                raise MeasureError(f"{metric.name} gives {len(each)} values for {size} examples: it must give one each")
            columns.append(each.expand(size))
        return self.add(torch.stack([*columns, torch.ones(size, dtype=torch.float64)], 1), size)

    def _each(self, metric: Metric, value: Any) -> Tensor:
        each = (
            torch.as_tensor(value, dtype=torch.float64).detach().cpu()
            if isinstance(value, Tensor | float | int)
            else None
        )
        if each is None or each.dim() > 1:
            raise MeasureError(
                f"{metric.name} must give one value for each example, a tensor of shape (n,), or one number, not "
                f"{describe(value)}"
            )
        if not torch.isfinite(each).all():
            raise MeasureError(f"{metric.name} gives values that are not finite numbers")
        return each

    def figures(self, sums: Tensor) -> dict[str, float]:
        *totals, n = sums.tolist()
        return {metric.name: total / n for metric, total in zip(self._metrics, totals, strict=True)}
