"""How well a network does its job."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ..core.errors import CallError, MeasureError, NetError, NetwrightError, format_error
from ..core.metric import Measurement
from ..core.warn import warn
from ..nets.devices import device_of, device_under, placed, to_device
from ..nets.inputs import describe, fresh
from ..nets.layout import channels_last
from ..tasks import Evaluator, Task, task_of
from ..tasks.base import require_metrics
from ..tasks.classification import Classification
from ..tasks.data import read
from .base import EvaluationContext, Measurer, Race

LOOKS = (1 / 8, 1 / 4, 1 / 2, 3 / 4)
"""The shares of the examples after which a racing network is looked at."""


class Quality(Measurer):
    """The metrics of a task.

    In a race (``nw.Study(racing=0.95)``) a network is looked at after an eighth, a quarter, a half and three quarters
    of the examples, at the ends of batches, and stopped once it is dominated even by the best case of a metric, as far
    as the task's evaluator knows it (:meth:`netwright.tasks.Evaluator.best_case`). That takes the order of the examples
    for a random one: shuffle them once, not each time, and make batches no larger than an eighth. Examples in the order
    of their targets are found out: a warning says so, and all of them are used.

    Args:
        task: what the networks are for, or a text such as ``"regression"``.
        loader: batches that the task takes, the same at each iteration.
        device: ``cpu``, ``cuda`` or ``auto`` to have networks there while they are judged; by default they stay where
            they are. Batches are moved to them.
    """

    depends_on_weights = True
    races = True

    def __init__(self, task: Task | str, loader: Iterable[Any], device: str | torch.device | None = None) -> None:
        self.task, self.loader = task_of(task), loader
        self.metrics = self.task.metrics
        self.device = None if device is None else device_of(device)
        if not isinstance(loader, Iterable):
            raise CallError(f"{self._name} is judged on batches of (inputs, labels), not on a {type(loader).__name__}")
        if isinstance(loader, Iterator):
            raise CallError(
                f"{self._name} is judged on the same batches for each network, but a {type(loader).__name__} gives "
                "them only once: make it a list, or give a DataLoader"
            )

    @property
    def _name(self) -> str:
        return self.metrics[0].name

    def measure(self, context: EvaluationContext) -> Mapping[str, Measurement]:
        evaluator, network = self.task.evaluator(), self.network(context)
        race = context.race
        total = max((race.totals.get(metric.name, 0) for metric in self.metrics), default=0) if race else 0
        seen, looks = 0, [share * total for share in LOOKS if total]
        for counted in self._judged(network, evaluator):
            seen += counted
            if race is None or not looks or not looks[0] <= seen < total:
                continue
            looks = [look for look in looks if look > seen]
            # Bonferroni: each look has its share of what may go wrong.
            best = evaluator.best_case(total, 1 - (1 - race.confidence) / len(LOOKS))
            if not any(name in race.totals and race.lost(name, value) for name, value in best.items()):
                continue
            if not evaluator.is_ordered:
                return self._partial(evaluator, best, total, race)
            warn(
                "the examples come in the order of their labels, so that a part of them does not stand for all: "
                "every network is judged on all of them; shuffle them once to have networks race"
            )
            looks = []
        return self.result_of(evaluator)

    def network(self, context: EvaluationContext) -> nn.Module:
        """What is judged of a candidate."""
        module: nn.Module = context.module
        return module

    def evaluate(self, network: nn.Module) -> Evaluator:
        """An evaluator that has counted what any network answers to all batches."""
        evaluator = self.task.evaluator()
        for _ in self._judged(network, evaluator):
            pass
        return evaluator

    def all_of(self, network: nn.Module) -> dict[str, Measurement]:
        """Every metric of any network that does the task."""
        return self.result_of(self.evaluate(network))

    def of(self, network: nn.Module) -> Measurement:
        """The task's first metric of any network that does the task."""
        return self.all_of(network)[self._name]

    def result_of(self, evaluator: Evaluator) -> dict[str, Measurement]:
        """Every metric, of an evaluator that has counted."""
        found = evaluator.result()
        require_metrics(self.task, found)
        return found

    def _partial(
        self, evaluator: Evaluator, best: Mapping[str, float], total: int, race: Race
    ) -> dict[str, Measurement]:
        """What is known of a network that was stopped."""
        found, details = self.result_of(evaluator), {"of": total, "confidence": race.confidence}
        return {
            name: replace(found[name], kind="partial", details=details, best_case=value) for name, value in best.items()
        }

    @torch.no_grad()
    def _judged(self, network: nn.Module, evaluator: Evaluator) -> Iterator[int]:
        """Count the network's answers, batch by batch; gives how many of each count."""
        if not isinstance(network, nn.Module):
            raise CallError(
                f"{self._name} is that of a network, a torch.nn.Module, not of {describe(network)}; of a super-network "
                "extract one first: net.extract(candidate)"
            )
        network.eval()
        device = self.device or device_under(network)
        with placed(network, device), channels_last(network):
            for batch in read(self.loader, "the data that networks are judged on", MeasureError):
                try:
                    inputs, targets = self.task.split(batch)
                    answer = self.task.answer(network, to_device(fresh(inputs), device))
                    outputs = to_device(answer, torch.device("cpu"))
                    counted = evaluator.update(outputs, targets)
                except Exception as error:  # inputs of another number, by other names, or of another shape
                    if isinstance(error, NetwrightError) and not isinstance(error, NetError):
                        raise
                    raise MeasureError(f"{self._name} cannot be judged: {format_error(error)}") from error
                yield counted


class Accuracy(Quality):
    """Top-1 accuracy, in percent: :class:`Quality` of classification.

    A network that a constant answer could equal is told: its measurement's ``details`` have an entry ``chance``, the
    share of the most frequent class in percent, and one ``constant``, the class, where it answers nothing else.

    Args:
        loader: (inputs, labels) batches; labels are class indices, of the scores' shape without the classes. Those of
            -100 (padding) do not count.
    """

    metrics = Classification().metrics

    def __init__(self, loader: Iterable[Any]) -> None:
        super().__init__(Classification(), loader)
