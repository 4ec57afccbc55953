"""What is counted of classes: right, answered and true ones, and the figures that follow (accuracy, F1, IoU)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..core.metric import Metric
from .grouped import GroupedEvaluator
from .outputs import answers_of, finite, require_classes, scores_of

ACCURACY = Metric("accuracy", "%", "max", superlative="most accurate")
F1 = Metric("f1", "%", "max")
MIOU = Metric("miou", "%", "max")


class CountsEvaluator(GroupedEvaluator):
    """Accuracy, F1 and intersection over union of classes of tokens or pixels.

    F1 and IoU are means over the classes that occur or are answered. Intervals take the examples, each with all of its
    tokens or pixels, for independent.

    Args:
        metrics: of :data:`ACCURACY`, :data:`F1` and :data:`MIOU` those that are found.
        dim: of the scores, that holds the classes; one score alone is that of yes and no.
        ignored: the label of what does not count.
    """

    finds_shares = True

    def __init__(self, metrics: Sequence[Metric], dim: int, ignored: int) -> None:
        super().__init__(metrics)
        self._dim, self._ignored = dim, ignored

    def update(self, outputs: Any, targets: Any) -> int:
        scores = finite(scores_of(outputs))
        answers = answers_of(scores, targets, self._dim)
        classes = max(2, scores.shape[self._dim])
        counted = targets != self._ignored
        labels = targets[counted]
        require_classes(labels, classes)
        examples = torch.arange(len(targets)).view(-1, *[1] * (targets.dim() - 1)).expand(targets.shape)[counted]
        answered = answers[counted]
        right = answered == labels
        counts = [
            torch.bincount(examples[which] * classes + values[which], minlength=len(targets) * classes)
            for values, which in ((labels, right), (answered, ...), (labels, ...))
        ]
        return self.add(torch.stack(counts).view(3, len(targets), classes).movedim(1, 0), len(labels))

    def figures(self, sums: Tensor) -> dict[str, float]:
        right, answered, true = sums
        either = answered + true
        there = either > 0
        total = float(true.sum())
        if not total:
            return {}
        shares = {
            ACCURACY.name: float(right.sum()) / total,
            F1.name: float((2 * right / either)[there].mean()),
            MIOU.name: float((right / (either - right))[there].mean()),
        }
        return {metric.name: 100.0 * shares[metric.name] for metric in self._metrics}

    def baseline(self) -> dict[str, float]:
        """The accuracy of the most frequent class, in percent."""
        if self._sums is None or ACCURACY not in self._metrics:
            return {}
        true = self._sums.sum(0)[2]
        return {ACCURACY.name: 100.0 * float(true.max() / true.sum())}
