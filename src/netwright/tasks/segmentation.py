"""Segmentation: one class for each pixel that counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from ..core.errors import RecipeError
from .base import ClassTask
from .classification import check_class_indices, check_range
from .counts import ACCURACY, MIOU, CountsEvaluator
from .losses import class_loss, class_rows
from .outputs import IGNORED, scores_of
from .settings import require_settings


@dataclass(frozen=True)
class Segmentation(ClassTask):
    """A class for each pixel (or voxel): labels (n, h, w), int64, and scores (n, classes, h, w), or (n, 1, h, w) for
    labels of 0 and 1. Scores of a lower resolution are enlarged to that of the labels.

    Args:
        ignore_index: the label of pixels that do not count; many data sets have 255.
        label_smoothing: the share of a label that all classes have equally, from 0 to 1.
        class_weights: how much a pixel of each class counts in the loss; () counts all the same.
        temperature: that a teacher's scores and the network's are divided by.
    """

    ignore_index: int = IGNORED
    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] = ()
    temperature: float = 1.0

    def __post_init__(self) -> None:
        require_settings(self)

    metrics = (MIOU, ACCURACY)

    def loss(self, outputs: Any, targets: Any) -> Tensor:
        scores = _at_size(scores_of(outputs), targets)
        return class_loss(scores, targets, 1, self.ignore_index, self.label_smoothing, self.class_weights)

    def class_scores(self, outputs: Any, targets: Any) -> Tensor:
        return class_rows(_at_size(scores_of(outputs), targets), targets, 1, self.ignore_index)

    def evaluator(self) -> PixelEvaluator:
        return PixelEvaluator(self.metrics, 1, self.ignore_index)

    def example_script(self) -> str:
        return (
            "answers = scores.argmax(1) if scores.shape[1] > 1 else scores[:, 0] > 0  # at the labels' resolution\n"
            f"answers, kinds = (a[labels != {self.ignore_index}] for a in (answers, labels))\n"
            "classes = np.union1d(answers, kinds)\n"
            "both = [((answers == c) & (kinds == c)).sum() / ((answers == c) | (kinds == c)).sum() for c in classes]\n"
            'print("test miou:", np.mean(both))\n'
        )

    def check_targets(self, targets: Any, part: str) -> None:
        check_class_indices(targets, part, ignored=self.ignore_index)

    def check_outputs(self, outputs: Any, targets: Any) -> None:
        scores = scores_of(outputs)
        if scores.dim() != targets.dim() + 1:
            raise RecipeError(
                f"the model gives scores of shape {tuple(scores.shape)} for labels of shape {tuple(targets.shape)}: it "
                "must give (n, classes, h, w) for labels (n, h, w)"
                + ("; try labels.squeeze(1)" if targets.dim() > 2 and targets.shape[1] == 1 else "")
            )
        check_range(scores.shape[1], targets, self.ignore_index, self.class_weights)


class PixelEvaluator(CountsEvaluator):
    """Counts pixels, at the labels' resolution."""

    def update(self, outputs: Any, targets: Any) -> int:
        return super().update(_at_size(scores_of(outputs), targets), targets)


def _at_size(scores: Tensor, targets: Tensor) -> Tensor:
    """Scores at the resolution of the labels."""
    if scores.dim() != 4 or targets.dim() != 3 or scores.shape[2:] == targets.shape[1:]:
        return scores
    return F.interpolate(scores, size=targets.shape[1:], mode="bilinear", align_corners=False)
