"""How well a network does its job."""

from __future__ import annotations

import warnings
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import CallError, MeasureError, NetError, format_error
from ..core.metric import CHANCE, Measurement, Metric
from ..nets.inputs import call, fresh
from ..nets.labelled import IGNORED, answers_of, pair_of, scores_of
from ..nets.layout import channels_last
from .base import EvaluationContext, Measurer

LOOKS = (1 / 8, 1 / 4, 1 / 2, 3 / 4)
"""The shares of the examples after which a racing network is looked at."""


class Accuracy(Measurer):
    """Top-1 accuracy, in percent.

    In a race (``nw.Study(racing=0.95)``) a network is looked at after an eighth, a quarter, a half and three quarters
    of the examples, at the ends of batches, and stopped once it is dominated even at the upper end of what its accuracy
    on all of them may be. That end takes the order of the examples for a random one: shuffle them once, not each time,
    and make batches no larger than an eighth. Examples in the order of their labels are found out: a warning says so,
    and all of them are used.

    A network that a constant answer could equal is told: its measurement's ``how`` has an entry ``chance``, the share
    of the most frequent class in percent, and one ``constant``, the class, where it answers nothing else.

    Args:
        loader: (inputs, labels) batches; labels are class indices, of the scores' shape without the classes. Those of
            -100 (padding) do not count.
    """

    metrics = (Metric("accuracy", "%", "max"),)
    depends_on_weights = True
    races = True

    def __init__(self, loader: Iterable[Any]) -> None:
        if not isinstance(loader, Iterable):
            raise CallError(f"accuracy is judged on batches of (inputs, labels), not on a {type(loader).__name__}")
        self.loader = loader

    def measure(self, context: EvaluationContext) -> Mapping[str, Measurement]:
        race = context.race
        network = self.network(context)
        if race is None or "accuracy" not in race.totals:
            return {"accuracy": self.of(network)}
        tally = _Tally()
        total = race.totals["accuracy"]
        looks = [share * total for share in LOOKS]
        chance = (1 - race.confidence) / len(looks)  # Bonferroni: each look has its share of what may go wrong
        for _ in self._judged(network, tally):
            right, seen = tally.right, tally.seen
            if not looks or not looks[0] <= seen < total:
                continue
            looks = [look for look in looks if look > seen]
            best = 100.0 * (most_right(right, seen, total, chance) / total)
            if not race.lost("accuracy", best):
                continue
            if _in_order(torch.cat(tally.labels)):
                warnings.warn(
                    "the examples come in the order of their labels, so that a part of them does not stand for all: "
                    "every network is judged on all of them; shuffle them once to have networks race",
                    stacklevel=2,
                )
                looks = []
                continue
            how = {"of": total, "confidence": race.confidence}
            part = replace(proportion(right, seen), kind="partial", details=how, best_case=best)
            return {"accuracy": part}
        return {"accuracy": tally.measurement()}

    def network(self, context: EvaluationContext) -> nn.Module:
        """What is judged of a candidate."""
        module: nn.Module = context.module
        return module

    def of(self, network: nn.Module) -> Measurement:
        """The accuracy of any network that gives class scores, (batch, classes) or see :class:`Accuracy`."""
        tally = _Tally()
        for _ in self._judged(network, tally):
            pass
        return tally.measurement()

    def chance(self) -> float:
        """What a network has that always answers the most frequent class, in percent."""
        tally = _Tally()
        for batch in self.loader:
            _, labels = pair_of(batch)
            labels = labels[labels != IGNORED]
            tally.add(labels, labels)
        return tally.chance()

    @torch.no_grad()
    def _judged(self, network: nn.Module, tally: _Tally) -> Iterator[None]:
        """Count the network's answers, batch by batch."""
        network.eval()
        with channels_last(network):
            for batch in self.loader:
                try:
                    inputs, labels = pair_of(batch)
                    scores = scores_of(call(network, fresh(inputs)))
                    if not torch.isfinite(scores).all():
                        raise MeasureError("the network's outputs are not finite numbers")
                    answers = answers_of(scores, labels)
                except NetError as error:
                    raise MeasureError(f"accuracy cannot be judged: {format_error(error)}") from None
                counts = labels != IGNORED
                tally.add(answers[counts], labels[counts])
                yield


class _Tally:
    """What a network answered so far, and what would have been right."""

    def __init__(self) -> None:
        self.right = self.seen = 0
        self.labels: list[Tensor] = []
        self._given: set[int] = set()

    def add(self, answers: Tensor, labels: Tensor) -> None:
        """Of a batch, both of shape (examples,)."""
        self.right, self.seen = self.right + int((answers == labels).sum()), self.seen + len(labels)
        self.labels.append(labels)
        self._given.update(answers.unique().tolist())

    def chance(self) -> float:
        """The share of the most frequent class, in percent."""
        return 100.0 * (int(torch.cat(self.labels).unique(return_counts=True)[1].max()) / self.seen)

    def measurement(self) -> Measurement:
        """The share of right answers, with what a constant answer has where that is as good."""
        found = proportion(self.right, self.seen)
        chance = self.chance()
        if found.value - found.ci95 > chance:
            return found
        constant = {"constant": self._given.pop()} if len(self._given) == 1 else {}
        return replace(found, details={CHANCE: chance, **constant})


def most_right(right: int, seen: int, total: int, chance: float) -> int:
    """How many of all examples a network may have right, at most.

    The upper end of the exact one-sided interval for sampling without replacement (the hypergeometric distribution):
    the largest number under which as few as ``right`` among ``seen`` come about with a probability above ``chance``.

    Args:
        right: answers among those seen that are right.
        seen: examples seen, drawn at random from all.
        total: examples in all.
        chance: that the number is larger.
    """
    from scipy.stats import hypergeom

    # The probability falls as the number grows; `right` itself is always possible.
    possible = range(right, total - (seen - right) + 1)
    beyond = bisect_left(possible, True, key=lambda k: bool(hypergeom.cdf(right, total, k, seen) <= chance))
    return possible[max(beyond - 1, 0)]


def _in_order(labels: Tensor) -> bool:
    """Whether the labels never fall, as those of files that are listed class by class."""
    return len(labels) > 1 and not bool((labels[1:] < labels[:-1]).any())


def proportion(right: int, total: int) -> Measurement:
    """A share in percent. Its interval is half of Wilson's 95 % interval: how far other samples of the same size
    would scatter."""
    if total == 0:
        raise MeasureError("accuracy needs data, but the loader gave none")
    share, z = right / total, 1.96
    half = z / (1 + z * z / total) * sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return Measurement(100.0 * share, "%", ci95=100.0 * half, n=total)
