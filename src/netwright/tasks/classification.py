"""Classification: one class per example, by class scores (n, classes) or single scores of yes and no."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..core.errors import NetError, RecipeError
from ..core.metric import CHANCE, Measurement, Metric
from ..nets.inputs import describe
from .base import ClassTask, Evaluator
from .counts import ACCURACY
from .losses import class_rows, cross_entropy, is_yes_or_no
from .outputs import IGNORED, answers_of, class_dimension, finite, require_classes, scores_of
from .settings import require_settings
from .statistics import most_right, proportion, require_examples

TOP5 = Metric("top5", "%", "max")


@dataclass(frozen=True)
class Classification(ClassTask):
    """One class of several: the cross-entropy of class scores with class indices.

    In a job, labels are int64 of shape (n,) and scores (n, classes), or (n,) and (n, 1) for labels of 0 and 1. The loss
    and the evaluator take scores and labels of more dimensions too, see :func:`netwright.tasks.losses.cross_entropy`.

    Args:
        top5: whether the share of examples whose class is among the five with the highest scores is a metric too.
        label_smoothing: the share of a label that all classes have equally, from 0 to 1.
        class_weights: how much an example of each class counts in the loss; () counts all the same.
        temperature: that a teacher's scores and the network's are divided by.
    """

    top5: bool = False
    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] = ()
    temperature: float = 1.0

    def __post_init__(self) -> None:
        require_settings(self)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return (ACCURACY, TOP5) if self.top5 else (ACCURACY,)

    def loss(self, outputs: Any, targets: Any) -> Tensor:
        return cross_entropy(outputs, targets, label_smoothing=self.label_smoothing, class_weights=self.class_weights)

    def class_scores(self, outputs: Any, targets: Any) -> Tensor:
        scores = scores_of(outputs)
        if is_yes_or_no(scores, targets):
            return class_rows(scores.reshape(*targets.shape, 1), targets, -1)
        soft = isinstance(targets, Tensor) and targets.is_floating_point()
        return class_rows(scores, targets, 1 if soft else class_dimension(scores, targets))

    def evaluator(self) -> ClassEvaluator:
        return ClassEvaluator(self.top5)

    def example_script(self) -> str:
        return 'print("test accuracy:", (scores.argmax(1) == labels).mean())\n'

    def check_targets(self, targets: Any, part: str) -> None:
        check_class_indices(targets, part, dims=1)

    def check_outputs(self, outputs: Any, targets: Any) -> None:
        try:
            scores = scores_of(outputs)
        except NetError as error:
            raise RecipeError(str(error)) from None
        most, shape = int(targets.max()), tuple(scores.shape)
        single = scores.dim() == 1 or (scores.dim() == 2 and scores.shape[1] == 1)
        classes = 2 if single else scores.shape[1] if scores.dim() == 2 else 0
        if classes <= most or (scores.dim() == 1 and most > 1):
            raise RecipeError(
                f"the model gives scores of shape {shape}, but labels go up to {most}: it must give "
                f"(batch, {most + 1} or more)"
            )
        check_range(classes, targets, IGNORED, self.class_weights)
        if self.top5 and classes < 6:
            raise RecipeError(f"top5 of {classes} classes is always 100 %: leave top5 out")


def check_class_indices(targets: Any, part: str, dims: int | None = None, ignored: int = IGNORED) -> None:
    """Raise :class:`RecipeError` for labels that are no class indices.

    Args:
        targets: the labels.
        part: of the data, for messages.
        dims: the number of their dimensions, where that is known.
        ignored: the label of what does not count.
    """
    if not isinstance(targets, Tensor):
        raise RecipeError(f"the {part} labels must be class indices, an int64 tensor, not {describe(targets)}")
    if targets.dtype != torch.int64 or (dims is not None and targets.dim() != dims):
        shape = f" of shape ({len(targets) if targets.dim() else 'n'},)" if dims == 1 else ""
        fix = "labels.long().flatten()" if dims == 1 else "labels.long()"
        raise RecipeError(
            f"the {part} labels must be class indices, int64{shape}, not {targets.dtype} of shape "
            f"{tuple(targets.shape)}; try {fix}"
        )
    counted = targets[targets != ignored]
    if counted.numel() and counted.min() < 0:
        raise RecipeError(
            f"the {part} labels must be class indices from 0 (or {ignored} where nothing is to count), but one is "
            f"{int(counted.min())}"
        )


def check_range(classes: int, targets: Tensor, ignored: int, class_weights: tuple[float, ...]) -> None:
    """Raise :class:`RecipeError` for labels beyond the classes, and for weights of another number of classes."""
    most = int(targets.masked_fill(targets == ignored, 0).max()) if targets.numel() else 0
    if most >= max(2, classes):
        raise RecipeError(
            f"the model gives scores of {classes} classes, but labels go up to {most}: it needs {most + 1}"
        )
    if class_weights and len(class_weights) != max(2, classes):
        raise RecipeError(f"class_weights has {len(class_weights)} entries, but the model {max(2, classes)} classes")


class ClassEvaluator(Evaluator):
    """Counts right answers.

    Args:
        top5: whether a class among the five highest scores is counted too.
        dim: of the scores, that holds the classes; by default the one that the labels lack.
    """

    def __init__(self, top5: bool = False, dim: int | None = None) -> None:
        self._dim = dim
        self.seen = 0
        self.right = {ACCURACY.name: 0, **({TOP5.name: 0} if top5 else {})}
        self._labels: list[Tensor] = []
        self._given: set[int] = set()

    def update(self, outputs: Any, targets: Any) -> int:
        scores = finite(scores_of(outputs))
        answers = answers_of(scores, targets, self._dim)
        counted = targets != IGNORED
        answers, labels = answers[counted], targets[counted]
        classes = 2 if scores.shape == targets.shape else scores.shape[self._class_dim(scores, targets)]
        require_classes(labels, max(2, classes))
        self.right[ACCURACY.name] += int((answers == labels).sum())
        if TOP5.name in self.right:
            self.right[TOP5.name] += int(self._among_five(scores, targets)[counted].sum())
        self._labels.append(labels)
        self._given.update(answers.unique().tolist())
        self.seen += len(labels)
        return len(labels)

    def _class_dim(self, scores: Tensor, targets: Tensor) -> int:
        return class_dimension(scores, targets) if self._dim is None else self._dim

    def _among_five(self, scores: Tensor, targets: Tensor) -> Tensor:
        dim = self._class_dim(scores, targets)
        best = scores.topk(min(5, scores.shape[dim]), dim).indices
        return (best == targets.unsqueeze(dim)).any(dim)

    def result(self) -> dict[str, Measurement]:
        found = {name: proportion(right, self.seen) for name, right in self.right.items()}
        accuracy, chance = found[ACCURACY.name], self.baseline()[ACCURACY.name]
        if accuracy.value - accuracy.ci95 <= chance:
            constant = {"constant": next(iter(self._given))} if len(self._given) == 1 else {}
            found[ACCURACY.name] = replace(accuracy, details={CHANCE: chance, **constant})
        return found

    def best_case(self, total: int, confidence: float) -> dict[str, float]:
        return {
            name: 100.0 * (most_right(right, self.seen, total, 1 - confidence) / total)
            for name, right in self.right.items()
        }

    def baseline(self) -> dict[str, float]:
        """The accuracy of a network that always answers the most frequent class, in percent."""
        require_examples(ACCURACY.name, self.seen)
        most = int(torch.cat(self._labels).unique(return_counts=True)[1].max())
        return {ACCURACY.name: 100.0 * (most / self.seen)}

    @property
    def is_ordered(self) -> bool:
        """Whether the labels never fall, as those of files that are listed class by class."""
        labels = torch.cat(self._labels)
        return len(labels) > 1 and not bool((labels[1:] < labels[:-1]).any())
