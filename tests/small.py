"""Small modules that several tests make."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from netwright.core.metric import Metric
from netwright.nets.importance import CRITERIA, Criterion
from netwright.tasks.base import Evaluator, Task


def criterion(name: str, batches: Any = None, **settings: Any) -> Criterion:
    """An importance criterion by its name; on data where it takes some."""
    given = {"batches": batches} if "batches" in CRITERIA.settings(name) else {}
    return CRITERIA.cls(name)(**given, **settings)


class Of(nn.Module):
    """A function of layers and inputs."""

    def __init__(self, function: Callable[..., Any], *layers: nn.Module) -> None:
        super().__init__()
        self.function, self.layers = function, nn.ModuleList(layers)

    def forward(self, *inputs: Any, **named: Any) -> Any:
        return self.function(*self.layers, *inputs, **named)


class Added(nn.Module):
    """A residual block."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


class Learns(Task):
    """A task of a loss, and of a distillation where one is given; it is never judged."""

    metrics = (Metric("loss"),)  # type: ignore[assignment]

    def __init__(self, loss: Callable[..., Any], distillation: Callable[..., Any] | None = None) -> None:
        self.function, self.distillation = loss, distillation

    def loss(self, outputs: Any, targets: Any) -> Tensor:
        return self.function(outputs, targets)

    def distillation_loss(self, outputs: Any, teacher: Any, targets: Any) -> Tensor:
        if self.distillation is None:
            return super().distillation_loss(outputs, teacher, targets)
        return self.distillation(outputs, teacher)

    def evaluator(self) -> Evaluator:
        raise NotImplementedError
