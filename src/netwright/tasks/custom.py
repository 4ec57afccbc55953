"""Tasks of one's own made of functions, and several tasks of one network with several outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ..core.errors import NetError, RecipeError, TrainingError
from ..core.metric import Measurement, Metric
from ..nets.inputs import describe, tensors_in
from .base import Evaluator, Task
from .grouped import MeanEvaluator
from .losses import Loss, distillation, feature_loss, scalar
from .settings import find_functions

LOSS = Metric("loss")


@dataclass(frozen=True)
class Custom(Task):
    """A task by a loss of one's own; a class derived from :class:`netwright.tasks.Task` says more.

    Args:
        criterion: a function of outputs and targets, or ``module:function``; it gives the mean over the batch.
        values: metrics, each a function of outputs and targets that gives one value per example, (n,), or a batch's
            mean; what is found is the mean. By default the loss itself is the only metric.
        distillation: a function of a network's and a teacher's outputs. By default it follows from the loss, which is
            tried (:func:`netwright.tasks.losses.distillation`); where the loss does not say it, the network's outputs
            are drawn to the teacher's, as far as their shapes are the same.
    """

    criterion: str | Loss
    values: Mapping[Metric, Callable[[Any, Any], Any]] = field(default_factory=dict)
    distillation: str | Loss | None = None
    _found: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        find_functions(self, "criterion", optional=("distillation",))
        if not isinstance(self.values, Mapping) or not all(
            isinstance(metric, Metric) and callable(value) for metric, value in self.values.items()
        ):
            raise RecipeError(
                "task: values is a dict of functions of outputs and targets by their metrics, such as "
                '{nw.Metric("mae"): function}, not ' + describe(self.values)
            )

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return tuple(self.values) or (LOSS,)

    def loss(self, outputs: Any, targets: Any) -> Tensor:
        assert callable(self.criterion)
        return scalar(self.criterion(outputs, targets))

    def distillation_loss(self, outputs: Any, teacher: Any, targets: Any) -> Tensor:
        if callable(self.distillation):
            return scalar(self.distillation(outputs, teacher))
        key = tuple(t.dim() for t in tensors_in(teacher))
        if key not in self._found:
            assert callable(self.criterion)
            try:
                self._found[key] = distillation(self.criterion, teacher, targets)
            except TrainingError:
                self._found[key] = lambda outputs, teacher, targets: feature_loss(outputs, teacher)
        return self._found[key](outputs, teacher, targets)

    def evaluator(self) -> MeanEvaluator:
        return MeanEvaluator(self.values or {LOSS: self.loss})


@dataclass(frozen=True)
class Several(Task):
    """Several outputs, each with a task of its own: the loss is the sum of theirs.

    Outputs are a mapping, an object with attributes, or a tuple in the order of the tasks; targets likewise.

    Args:
        tasks: output's name to task. Metrics that several of them have are called ``<output>_<metric>``.
        weights: how much the loss of an output counts; 1 where it is not named.
    """

    tasks: Mapping[str, Task]
    weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.tasks, Mapping) or not self.tasks:
            raise RecipeError(f"task: tasks is a dict of an output's name to its task, not {describe(self.tasks)}")
        if wrong := next((name for name, task in self.tasks.items() if not isinstance(task, Task)), None):
            raise RecipeError(f"task: {wrong!r} needs a task such as nw.tasks.Regression(), not {self.tasks[wrong]!r}")
        if unknown := [name for name in self.weights if name not in self.tasks]:
            raise RecipeError(f"task: weights names {unknown[0]!r}; the outputs are {', '.join(self.tasks)}")

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return tuple(
            Metric(self.name_of(name, metric.name), metric.unit, metric.direction)
            for name, task in self.tasks.items()
            for metric in task.metrics
        )

    def name_of(self, output: str, metric: str) -> str:
        """What a metric of an output is called."""
        shared = sum(metric == other.name for task in self.tasks.values() for other in task.metrics) > 1
        return f"{output}_{metric}" if shared else metric

    def loss(self, outputs: Any, targets: Any) -> Tensor:
        return self._sum(lambda task, name: task.loss(self.part(outputs, name), self.part(targets, name)))

    def distillation_loss(self, outputs: Any, teacher: Any, targets: Any) -> Tensor:
        return self._sum(
            lambda task, name: task.distillation_loss(*(self.part(each, name) for each in (outputs, teacher, targets)))
        )

    def _sum(self, loss: Callable[[Task, str], Tensor]) -> Tensor:
        losses = [self.weights.get(name, 1.0) * scalar(loss(task, name)) for name, task in self.tasks.items()]
        return sum(losses[1:], losses[0])

    def evaluator(self) -> SeveralEvaluator:
        return SeveralEvaluator(self)

    def check_targets(self, targets: Any, part: str) -> None:
        for name, task in self.tasks.items():
            task.check_targets(self.part(targets, name), part)

    def check_outputs(self, outputs: Any, targets: Any) -> None:
        for name, task in self.tasks.items():
            task.check_outputs(self.part(outputs, name), self.part(targets, name))

    def part(self, values: Any, name: str) -> Any:
        """What belongs to an output. Raises :class:`NetError` where it is not there."""
        if isinstance(values, Mapping) and name in values:
            return values[name]
        if isinstance(values, tuple | list) and len(values) == len(self.tasks):
            return values[list(self.tasks).index(name)]
        if not isinstance(values, Tensor | Mapping) and hasattr(values, name):
            return getattr(values, name)
        raise NetError(
            f"there is no {name!r} in {describe(values)}: outputs and targets must be dicts with the names "
            f"{', '.join(self.tasks)}, or tuples in this order"
        )


class SeveralEvaluator(Evaluator):
    """The evaluators of several outputs.

    Args:
        task: whose they are.
    """

    def __init__(self, task: Several) -> None:
        self._task = task
        self._parts = {name: each.evaluator() for name, each in task.tasks.items()}

    def update(self, outputs: Any, targets: Any) -> int:
        part = self._task.part
        return max(each.update(part(outputs, name), part(targets, name)) for name, each in self._parts.items())

    def result(self) -> dict[str, Measurement]:
        return self._named(lambda each: each.result())

    def best_case(self, total: int, confidence: float) -> dict[str, float]:
        return self._named(lambda each: each.best_case(total, confidence))

    def baseline(self) -> dict[str, float]:
        return self._named(lambda each: each.baseline())

    @property
    def is_ordered(self) -> bool:
        return any(each.is_ordered for each in self._parts.values())

    def _named(self, tell: Callable[[Evaluator], Mapping[str, Any]]) -> dict[str, Any]:
        return {
            self._task.name_of(name, metric): value
            for name, each in self._parts.items()
            for metric, value in tell(each).items()
        }
