"""What a task is: what a batch is, what is learned from it, and how well it is done."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import MeasureError, NetError, NetwrightError, RecipeError, format_error
from ..core.metric import Measurement, Metric
from ..nets.inputs import Inputs, call, describe, evaluating, fresh, split_batch, tensors_in
from .data import PARTS, Data, PaddedSplit, Split, TensorLoader, read
from .losses import Imitated, SoftLabels, distillation, scalar, soft_cross_entropy


class Evaluator(ABC):
    """Gathers what a network answers, batch by batch, and tells how well it does.

    The outputs are those of a PyTorch network or of an exported file: the same structure of torch tensors.
    """

    @abstractmethod
    def update(self, outputs: Any, targets: Any) -> int:
        """Count a batch.

        Returns how many of its examples (or tokens, pixels) count. Raises :class:`NetError` or :class:`MeasureError`
        for what cannot be judged.
        """

    @abstractmethod
    def result(self) -> dict[str, Measurement]:
        """Every metric of the task by its name, of all that was counted. Raises :class:`MeasureError` where that is
        nothing."""

    def best_case(self, total: int, confidence: float) -> dict[str, float]:
        """The best value that a metric may have once all examples are counted, for racing.

        Args:
            total: examples in all, of which a random part is counted so far.
            confidence: with which the value is no better.

        Returns those that are known; by default none.
        """
        return {}

    def baseline(self) -> dict[str, float]:
        """What the best network has that always answers the same, by metric; {} where that is not known."""
        return {}

    @property
    def is_ordered(self) -> bool:
        """Whether the targets so far came in an order, so that a part of the examples does not stand for all."""
        return False


class Task(ABC):
    """What a network is for. A task of one's own has ``metrics``, ``loss`` and ``evaluator``, and what else differs.

    ``metrics`` says what its evaluator finds; the first is the default objective.
    """

    @property
    @abstractmethod
    def metrics(self) -> tuple[Metric, ...]:
        """What the evaluator finds, the default objective first; in a class of one's own an attribute will do."""

    @property
    def plain(self) -> Task:
        """The task without metrics of a person's own, which says what its data and heads are."""
        return self

    @abstractmethod
    def loss(self, outputs: Any, targets: Any) -> Tensor:
        """What is learned: a tensor without dimensions, the mean over the batch."""

    @abstractmethod
    def evaluator(self) -> Evaluator:
        """One that has counted nothing yet."""

    def answer(self, network: nn.Module, inputs: Inputs) -> Any:
        """What a network, or an exported file, answers to inputs, which :meth:`evaluator` counts: by default its
        outputs. A task has its own whose answers come of several runs, such as texts that are written token by token;
        it holds what :meth:`loss` takes of outputs."""
        return call(network, inputs)

    def split(self, batch: Any) -> tuple[Inputs, Any]:
        """Inputs and targets of a batch; by its structure, see :func:`netwright.nets.inputs.split_batch`."""
        return split_batch(batch)

    def distillation_loss(self, outputs: Any, teacher: Any, targets: Any) -> Tensor:
        """How a network learns from the outputs of another: a tensor without dimensions, the mean over the batch.

        Args:
            outputs: of the network that learns.
            teacher: of the other, detached.
            targets: of the batch: which positions count. They are not learned from.

        By default it is found by trying :meth:`loss` on the first batch, see
        :func:`netwright.tasks.losses.distillation`. Raises :class:`TrainingError` for a loss that does not tell.
        """
        return self._tried_distillation(teacher, targets)(outputs, teacher, targets)

    def class_scores(self, outputs: Any, targets: Any) -> Tensor:
        """The scores of the classes of all that counts, of shape (things, classes): what distillations compare that
        compare probabilities. Where things are answered by yes or no, these are the two classes.

        Args:
            outputs: of a network.
            targets: of the batch: which positions count.

        By default it is found by trying :meth:`loss`, as that of :meth:`distillation_loss` is. Raises
        :class:`TrainingError` for a task without classes.
        """
        return self._tried_distillation(outputs, targets).rows(outputs, targets)

    def _tried_distillation(self, outputs: Any, targets: Any) -> SoftLabels | Imitated:
        """What :func:`netwright.tasks.losses.distillation` finds, tried once for each form of outputs."""
        found: dict[int, SoftLabels | Imitated] = vars(self).setdefault("_distillations", {})
        dims = next((t.dim() for t in tensors_in(outputs)), 0)
        if dims not in found:
            found[dims] = distillation(self.loss, outputs, targets)
        return found[dims]

    def example_script(self) -> str:
        """Lines of Python for the README of an exported network, which say how well its outputs answer the targets of
        the test data: ``outputs``, a dict of NumPy arrays by the file's own names, among them ``scores`` (see
        :func:`netwright.tasks.outputs.scores_of`) where it is known which these are, and ``labels``, an array, or a
        dict where targets are several tensors. By default they show the shapes of the outputs."""
        return "print({name: array.shape for name, array in outputs.items()})\n"

    def check_targets(self, targets: Any, part: str) -> None:  # noqa: B027  # most data are what they should be
        """Raise :class:`RecipeError` for targets that the task does not take.

        Args:
            targets: all of a split in memory, or those of a loader's first batch.
            part: of the data, for messages: ``train``, ``validation`` or ``test``.
        """

    def check_outputs(self, outputs: Any, targets: Any) -> None:  # noqa: B027
        """Raise :class:`RecipeError` for a network whose outputs do not go with the targets of :meth:`check_targets`.

        Args:
            outputs: for a few examples.
            targets: see :meth:`check_targets`.
        """

    def check(self, network: nn.Module, data: Data) -> None:
        """Try the network on a little of each part of the data, before anything costly.

        Raises :class:`RecipeError` with the fix.
        """
        for name in PARTS:
            part = getattr(data, name)
            few = part.longest(2) if isinstance(part, PaddedSplit) else part  # as long as all targets are filled up to
            batches = TensorLoader(few, 2) if isinstance(few, Split) else few
            batch = next(iter(read(batches, f"the {name} data", RecipeError)), None)
            if batch is None:
                raise RecipeError(f"the {name} data give no batches; is an iterator used up, or a folder empty?")
            try:
                inputs, targets = self.split(batch)
            except NetError as error:
                raise RecipeError(f"the {name} data: {format_error(error)}") from None
            every = part.targets if isinstance(part, Split) else targets
            self.check_targets(every, name)
            outputs = _tried(self, network, inputs, name, data.name)
            try:
                self.check_outputs(outputs, every)
                self._check_use(outputs, targets)
            except RecipeError:
                raise
            except NetwrightError as error:
                raise RecipeError(f"the {name} data: {format_error(error)}") from error

    def _check_use(self, outputs: Any, targets: Any) -> None:
        """Learn from a batch, and judge it."""
        kind = type(self).__name__
        try:
            value = scalar(self.loss(outputs, targets))
        except NetwrightError:
            raise
        except Exception as error:  # a person's own loss
            raise RecipeError(f"the loss of {kind} raised {format_error(error)}") from error
        if not torch.isfinite(value):
            raise RecipeError(f"the loss of {kind} is {float(value)}: do inputs or targets hold values like that?")
        evaluator = self.evaluator()
        try:
            evaluator.update(outputs, targets)
            found = evaluator.result()
        except NetwrightError:
            raise
        except Exception as error:  # a person's own evaluator
            raise RecipeError(f"the evaluator of {kind} raised {format_error(error)}") from error
        require_metrics(self, found)


class ClassTask(Task):
    """A task whose answers are scores of classes, by which networks learn from one another.

    Attributes:
        temperature: that a teacher's scores and the network's are divided by.
    """

    temperature: float

    def distillation_loss(self, outputs: Any, teacher: Any, targets: Any) -> Tensor:
        """See :func:`netwright.tasks.losses.soft_cross_entropy`."""
        return soft_cross_entropy(
            self.class_scores(outputs, targets), self.class_scores(teacher, targets), self.temperature
        )

    @abstractmethod
    def class_scores(self, outputs: Any, targets: Any) -> Tensor:
        """See :meth:`Task.class_scores`."""


def require_metrics(task: Task, found: Any) -> None:
    """Raise :class:`MeasureError` where an evaluator's result lacks a metric of its task, or is none."""
    names = [metric.name for metric in task.metrics]
    others = [v for v in found.values() if not isinstance(v, Measurement)] if isinstance(found, dict) else [found]
    if others:
        raise MeasureError(
            f"result() of the evaluator of {type(task).__name__} must give a dict of netwright.Measurement(value, "
            f"unit) by the names {', '.join(names)}; a {type(others[0]).__name__} is none"
        )
    missing = [name for name in names if name not in found]
    if missing:
        raise MeasureError(
            f"the evaluator of {type(task).__name__} does not return {missing[0]!r}, which is among the task's "
            f"metrics; it returns {', '.join(map(repr, found)) or 'nothing'}"
        )


def _tried(task: Task, network: nn.Module, inputs: Inputs, part: str, data: str) -> Any:
    """The answers to a few inputs."""
    try:
        with torch.no_grad(), evaluating(network):
            return task.answer(network, fresh(inputs))
    except Exception as error:
        shapes = ", ".join(f"shape {tuple(t.shape[1:])} and {t.dtype}" for t in tensors_in(inputs)) or describe(inputs)
        raise RecipeError(
            f"the model cannot take the data{f' of {data}' * bool(data)}, {part} inputs of {shapes}: "
            f"{format_error(error)}"
        ) from error
