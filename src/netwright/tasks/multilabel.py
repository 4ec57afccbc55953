"""Multi-label classification: any number of labels at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.errors import NetError, RecipeError
from ..core.metric import Measurement, Metric
from ..nets.inputs import describe
from .base import ClassTask, Evaluator
from .counts import F1
from .losses import class_rows
from .outputs import finite, scores_of
from .settings import require_settings
from .statistics import GROUPS, jackknife, require_examples

MAP = Metric("map", "%", "max")


@dataclass(frozen=True)
class MultiLabel(ClassTask):
    """Yes or no for each of several labels: scores (n, labels), which are logits, and targets of 0 and 1 of that shape.

    Metrics are the mean average precision, and F1 of the answers whose scores are above 0; both are means over the
    labels that occur (F1: or are answered).

    Args:
        positive_weights: how much a yes of each label counts in the loss, where a no counts 1; () counts all the same.
        temperature: that a teacher's scores and the network's are divided by.
    """

    positive_weights: tuple[float, ...] = ()
    temperature: float = 1.0

    def __post_init__(self) -> None:
        require_settings(self)

    metrics = (MAP, F1)

    def loss(self, outputs: Any, targets: Any) -> Tensor:
        scores = _fitting(outputs, targets)
        weights = torch.tensor(self.positive_weights).to(scores) if self.positive_weights else None
        return F.binary_cross_entropy_with_logits(scores, targets.to(scores.dtype), pos_weight=weights)

    def class_scores(self, outputs: Any, targets: Any) -> Tensor:
        return class_rows(scores_of(outputs).unsqueeze(-1), None, -1)

    def evaluator(self) -> MultiLabelEvaluator:
        return MultiLabelEvaluator()

    def example_script(self) -> str:
        return 'print("labels that are answered right:", ((scores > 0) == labels).mean())\n'

    def check_targets(self, targets: Any, part: str) -> None:
        if not isinstance(targets, Tensor) or targets.dim() != 2:
            raise RecipeError(
                f"the {part} targets must be a tensor of 0 and 1 of shape (n, labels), not {describe(targets)}; "
                "torch.nn.functional.one_hot() makes one of class indices"
            )
        if bool(((targets != 0) & (targets != 1)).any()):
            wrong = targets[(targets != 0) & (targets != 1)][0].item()
            raise RecipeError(f"the {part} targets must be 0 or 1 for each label, but one is {wrong}")

    def check_outputs(self, outputs: Any, targets: Any) -> None:
        labels = _fitting(outputs, targets[:1].expand(len(scores_of(outputs)), -1)).shape[1]
        if self.positive_weights and len(self.positive_weights) != labels:
            raise RecipeError(
                f"positive_weights has {len(self.positive_weights)} entries, but there are {labels} labels"
            )


def _fitting(outputs: Any, targets: Any) -> Tensor:
    """The scores. Raises :class:`NetError` where the targets have another shape."""
    scores = scores_of(outputs)
    if not isinstance(targets, Tensor) or scores.shape != targets.shape:
        raise NetError(
            f"the network gives scores of shape {tuple(scores.shape)} for {describe(targets)}: several labels at once "
            "have targets of 0 and 1 of the scores' shape, (n, labels)"
        )
    return scores


class MultiLabelEvaluator(Evaluator):
    """Keeps all scores: average precision follows from their order."""

    def __init__(self) -> None:
        self._scores: list[Tensor] = []
        self._targets: list[Tensor] = []

    def update(self, outputs: Any, targets: Any) -> int:
        scores = finite(_fitting(outputs, targets))
        self._scores.append(scores.detach().cpu().float())
        self._targets.append(targets.cpu().bool())
        return len(targets)

    def result(self) -> dict[str, Measurement]:
        n = sum(map(len, self._targets))
        require_examples(MAP.name, n)
        scores, targets = torch.cat(self._scores), torch.cat(self._targets)
        value, group = _figures(scores, targets), torch.arange(n) % GROUPS
        left_out = [_figures(scores[group != g], targets[group != g]) for g in range(min(GROUPS, n))] if n > 1 else []
        return {
            metric.name: jackknife(value[metric.name], [each[metric.name] for each in left_out], metric.unit, n, n)
            for metric in MultiLabel.metrics
        }


def _figures(scores: Tensor, targets: Tensor) -> dict[str, float]:
    """The metrics in percent; 0 where no label occurs."""
    precisions = [average_precision(scores[:, i], targets[:, i]) for i in range(scores.shape[1]) if targets[:, i].any()]
    answers = scores > 0
    right, either = 2 * (answers & targets).sum(0), answers.sum(0) + targets.sum(0)
    f1 = (right / either)[either > 0]
    return {
        MAP.name: 100.0 * sum(precisions) / max(1, len(precisions)),
        F1.name: 100.0 * float(f1.mean()) if len(f1) else 0.0,
    }


def average_precision(scores: Tensor, relevant: Tensor) -> float:
    """The mean of the precision over the relevant examples, in falling order of scores; equal ones come together.

    Args:
        scores: of shape (n,).
        relevant: whether each example is, of shape (n,); one must be.
    """
    order = scores.argsort(descending=True)
    ordered = scores[order]
    ends = torch.cat([ordered[1:] != ordered[:-1], torch.ones(1, dtype=torch.bool)])
    hits = relevant[order].double().cumsum(0)[ends]
    precision = hits / (ends.nonzero()[:, 0] + 1)
    found = torch.diff(hits, prepend=torch.zeros(1, dtype=torch.float64))
    return float((found * precision).sum() / hits[-1])
