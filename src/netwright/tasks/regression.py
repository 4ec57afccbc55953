"""Regression: numbers of any shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.errors import NetError, RecipeError, TrainingError
from ..core.metric import Metric
from ..nets.inputs import describe
from .base import Task
from .grouped import GroupedEvaluator
from .losses import NO_CLASSES
from .outputs import finite, scores_of
from .settings import require_known

KEPT = 1_000_000
"""Target values that the best constant answer is found from, at most."""

ROUNDING = 1e-12
"""The share of a sum of squares that may be left by rounding of what is nothing."""

LOSSES: dict[str, Callable[..., Tensor]] = {"mse": F.mse_loss, "mae": F.l1_loss, "huber": F.huber_loss}


@dataclass(frozen=True)
class Regression(Task):
    """Numbers: outputs and targets of one shape; a last dimension of 1, (n, 1), is as good as none, (n,).

    Args:
        objective: what is learned: the mean of squared errors, of absolute ones, or of Huber's, which are absolute
            beyond 1.
        unit: of the targets, for tables.
    """

    objective: Literal["mse", "mae", "huber"] = "mse"
    unit: str = ""

    def __post_init__(self) -> None:
        require_known("Regression", "objective", self.objective, LOSSES)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return Metric("mae", self.unit), Metric("rmse", self.unit), Metric("r2", "", "max")

    def loss(self, outputs: Any, targets: Any) -> Tensor:
        values, wanted = matched(outputs, targets)
        return LOSSES[self.objective](values, wanted)

    def distillation_loss(self, outputs: Any, teacher: Any, targets: Any) -> Tensor:
        return LOSSES[self.objective](scores_of(outputs), scores_of(teacher))

    def class_scores(self, outputs: Any, targets: Any) -> Tensor:
        raise TrainingError(f"a regression has no classes, {NO_CLASSES}")

    def evaluator(self) -> RegressionEvaluator:
        return RegressionEvaluator(self.metrics)

    def example_script(self) -> str:
        return 'print("test mae:", abs(scores.reshape(labels.shape) - labels).mean())\n'

    def check_targets(self, targets: Any, part: str) -> None:
        if not isinstance(targets, Tensor) or not targets.is_floating_point():
            raise RecipeError(
                f"the {part} targets must be a tensor of numbers (float32), not {describe(targets)}; try "
                "targets.float()"
            )
        if not torch.isfinite(targets).all():
            raise RecipeError(f"the {part} targets hold values that are not finite numbers: leave those examples out")

    def check_outputs(self, outputs: Any, targets: Any) -> None:
        values = scores_of(outputs)
        if len(values):
            matched(values, targets[:1].expand(len(values), *targets.shape[1:]))


def matched(outputs: Any, targets: Any) -> tuple[Tensor, Tensor]:
    """Outputs and targets as tensors of one shape. Raises :class:`NetError` for others: broadcast, each would be
    compared with every other."""
    values = scores_of(outputs)
    if not isinstance(targets, Tensor):
        raise NetError(f"targets must be a tensor of numbers, not {describe(targets)}")
    shapes = [t.shape[:-1] if t.dim() > 1 and t.shape[-1] == 1 else t.shape for t in (values, targets)]
    if shapes[0] != shapes[1]:
        raise NetError(
            f"the network gives values of shape {tuple(values.shape)} for targets of shape {tuple(targets.shape)}: "
            "these must be the same"
        )
    return values.reshape(targets.shape), targets.to(values.dtype)


class RegressionEvaluator(GroupedEvaluator):
    """Sums of errors, of their squares and of targets by columns, dimension 1. R2 is that of the
    columns that vary, each weighted by its variance; where none does it is 1 without an error, else 0."""

    def __init__(self, metrics: tuple[Metric, ...]) -> None:
        super().__init__(metrics)
        self._origin: Tensor | None = None
        self._targets: list[Tensor] = []
        self._kept = 0

    def update(self, outputs: Any, targets: Any) -> int:
        values, wanted = (t.detach().cpu().double() for t in matched(outputs, targets))
        errors, wanted = (
            t.reshape(len(t), t.shape[1] if t.dim() > 1 else 1, -1) for t in (finite(values) - wanted, wanted)
        )
        if self._origin is None:  # amid the targets, where sums of squares lose no digits; of equal ones it is them
            self._origin = wanted.transpose(0, 1).flatten(1).median(1).values[:, None]
        if self._kept < KEPT:
            self._targets.append(wanted.transpose(0, 1).flatten(1).T)
            self._kept += wanted.numel()
        if len(self._origin) == wanted.shape[1]:  # else the sums say so
            wanted = wanted - self._origin
        columns = [torch.ones_like(errors), errors.abs(), errors.square(), wanted, wanted.square()]
        return self.add(torch.stack([each.sum(2) for each in columns], 1), len(values))

    def figures(self, sums: Tensor) -> dict[str, float]:
        n, absolute, squares, targets, target_squares = sums
        count, error = float(n.sum()), float(squares.sum())
        spread = target_squares - targets.square() / n
        varies = spread > ROUNDING * target_squares
        r2 = 1 - float(squares[varies].sum() / spread[varies].sum()) if varies.any() else float(error == 0)
        return {"mae": float(absolute.sum()) / count, "rmse": sqrt(error / count), "r2": r2}

    def baseline(self) -> dict[str, float]:
        """The errors of the best constant answer of each column: the median for one, the mean for the other."""
        if self._sums is None:
            return {}
        n, _, _, targets, squares = self._sums.sum(0)
        every = torch.cat(self._targets)
        mae = float((every - every.median(0).values).abs().mean())
        return {
            "mae": mae,
            "rmse": sqrt(max(0.0, float((squares - targets.square() / n).sum())) / float(n.sum())),
            "r2": 0.0,
        }
