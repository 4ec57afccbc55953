"""Metrics of a person's own, beside those of a task."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..core.errors import RecipeError
from ..core.metric import Measurement, Metric
from ..core.registry import Registry
from ..nets.inputs import Inputs
from .base import Evaluator, Task
from .data import Data


class OwnMetric(Evaluator):
    """What is found of the task's outputs beside the task's own metrics: an evaluator that says what it finds.

    Made anew for each network, without arguments or with those of ``module:Class,key=value``.
    """

    @property
    @abstractmethod
    def metrics(self) -> tuple[Metric, ...]:
        """What :meth:`result` gives; in a class of one's own an attribute will do."""


METRICS: Registry[OwnMetric] = Registry("metric", OwnMetric, __name__, {}, error=RecipeError)
"""Metrics by the names of installed packages (the entry point group ``netwright.metrics``), or ``module:Class``."""


@dataclass(frozen=True)
class Extended(Task):
    """A task with metrics of a person's own after its own.

    Args:
        task: says all but these.
        make: gives an evaluator of them that has counted nothing yet.
    """

    task: Task
    make: Callable[[], OwnMetric]

    @property
    def plain(self) -> Task:
        return self.task

    def __post_init__(self) -> None:
        own = [metric.name for metric in self.make().metrics]
        if clash := [metric.name for metric in self.task.metrics if metric.name in own]:
            raise RecipeError(f"metric: the task measures {clash[0]!r} already; give it another name")

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return (*self.task.metrics, *self.make().metrics)

    def split(self, batch: Any) -> tuple[Inputs, Any]:
        return self.task.split(batch)

    def answer(self, network: nn.Module, inputs: Inputs) -> Any:
        return self.task.answer(network, inputs)

    def loss(self, outputs: Any, targets: Any) -> Tensor:
        return self.task.loss(outputs, targets)

    def distillation_loss(self, outputs: Any, teacher: Any, targets: Any) -> Tensor:
        return self.task.distillation_loss(outputs, teacher, targets)

    def class_scores(self, outputs: Any, targets: Any) -> Tensor:
        return self.task.class_scores(outputs, targets)

    def evaluator(self) -> Evaluator:
        return _Both(self.task.evaluator(), self.make())

    def example_script(self) -> str:
        return self.task.example_script()

    def check(self, network: nn.Module, data: Data) -> None:
        self.task.check(network, data)
        super().check(network, data)


class _Both(Evaluator):
    """A task's evaluator and another one, which see the same batches."""

    def __init__(self, task: Evaluator, own: OwnMetric) -> None:
        self._task, self._own = task, own

    def update(self, outputs: Any, targets: Any) -> int:
        self._own.update(outputs, targets)
        return self._task.update(outputs, targets)

    def result(self) -> dict[str, Measurement]:
        return {**self._task.result(), **self._own.result()}

    def best_case(self, total: int, confidence: float) -> dict[str, float]:
        return {**self._task.best_case(total, confidence), **self._own.best_case(total, confidence)}

    def baseline(self) -> dict[str, float]:
        return {**self._task.baseline(), **self._own.baseline()}

    @property
    def is_ordered(self) -> bool:
        return self._task.is_ordered or self._own.is_ordered


def extended(task: Task, metric: str) -> Task:
    """A task with the metrics that a text names, ``module:Class,key=value``; the task itself where it is empty."""
    return Extended(task, lambda: METRICS.make(metric)) if metric else task
