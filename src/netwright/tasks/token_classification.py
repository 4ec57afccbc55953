"""Token classification: one class for each token that counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..core.errors import RecipeError
from .base import ClassTask
from .classification import check_class_indices, check_range
from .counts import ACCURACY, F1, CountsEvaluator
from .losses import class_loss, class_rows
from .outputs import IGNORED, scores_of
from .settings import require_settings


@dataclass(frozen=True)
class TokenClassification(ClassTask):
    """A class for each token: labels (n, tokens), int64, and scores (n, tokens, classes).

    Args:
        ignore_index: the label of tokens that do not count, such as padding.
        label_smoothing: the share of a label that all classes have equally, from 0 to 1.
        class_weights: how much a token of each class counts in the loss; () counts all the same.
        temperature: that a teacher's scores and the network's are divided by.
    """

    ignore_index: int = IGNORED
    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] = ()
    temperature: float = 1.0

    def __post_init__(self) -> None:
        require_settings(self)

    metrics = (ACCURACY, F1)

    def loss(self, outputs: Any, targets: Any) -> Tensor:
        return class_loss(scores_of(outputs), targets, -1, self.ignore_index, self.label_smoothing, self.class_weights)

    def class_scores(self, outputs: Any, targets: Any) -> Tensor:
        return class_rows(scores_of(outputs), targets, -1, self.ignore_index)

    def evaluator(self) -> CountsEvaluator:
        return CountsEvaluator(self.metrics, -1, self.ignore_index)

    def example_script(self) -> str:
        return (
            f"counted = labels != {self.ignore_index}\n"
            "answers, tags = scores.argmax(-1)[counted], labels[counted]\n"
            'print("test accuracy:", (answers == tags).mean())\n'
            "both = [((answers == c).sum() + (tags == c).sum(), ((answers == c) & (tags == c)).sum())"
            " for c in np.union1d(answers, tags)]\n"
            'print("test f1:", np.mean([2 * right / either for either, right in both]))\n'
        )

    def check_targets(self, targets: Any, part: str) -> None:
        check_class_indices(targets, part, dims=2, ignored=self.ignore_index)

    def check_outputs(self, outputs: Any, targets: Any) -> None:
        scores = scores_of(outputs)
        if scores.dim() != 3 or scores.shape[1] != targets.shape[1]:
            raise RecipeError(
                f"the model gives scores of shape {tuple(scores.shape)} for labels of shape {tuple(targets.shape)}: it "
                "must give (n, tokens, classes) for labels (n, tokens)"
            )
        check_range(scores.shape[-1], targets, self.ignore_index, self.class_weights)
