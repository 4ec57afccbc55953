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

from ..core.errors import MeasureError
from ..core.metric import AT_BEST, Measurement, Metric
from ..nets.inputs import call
from .base import Measurer, Subject

LOOKS = (1 / 8, 1 / 4, 1 / 2, 3 / 4)
"""The shares of the examples after which a racing network is looked at."""


class Accuracy(Measurer):
    """Top-1 accuracy, in percent.

    In a race (``nw.Study(racing=0.95)``) a network is looked at after an eighth, a quarter, a half and three quarters
    of the examples, at the ends of batches, and stopped once it is dominated even at the upper end of what its accuracy
    on all of them may be. That end takes the order of the examples for a random one: shuffle them once, not each time,
    and make batches no larger than an eighth. Examples in the order of their labels are found out: a warning says so,
    and all of them are used.

    Args:
        loader: (inputs, labels) batches; labels are class indices of shape (batch,).
    """

    metrics = (Metric("accuracy", "%", "max"),)
    learned = True
    races = True

    def __init__(self, loader: Iterable[Any]) -> None:
        self.loader = loader

    def measure(self, subject: Subject) -> Mapping[str, Measurement]:
        race = subject.race
        if race is None or "accuracy" not in race.totals:
            return {"accuracy": self.of(subject.module)}
        right = seen = 0
        total = race.totals["accuracy"]
        looks = [share * total for share in LOOKS]
        chance = (1 - race.confidence) / len(looks)  # Bonferroni: each look has its share of what may go wrong
        labels: list[Tensor] = []
        for correct, truth in self._judged(subject.module):
            right, seen = right + int(correct.sum()), seen + len(truth)
            labels.append(truth)
            if not looks or not looks[0] <= seen < total:
                continue
            looks = [look for look in looks if look > seen]
            best = 100.0 * (most_right(right, seen, total, chance) / total)
            if not race.lost("accuracy", best):
                continue
            if _in_order(torch.cat(labels)):
                warnings.warn(
                    "the examples come in the order of their labels, so that a part of them does not stand for all: "
                    "every network is judged on all of them; shuffle them once to have networks race",
                    stacklevel=2,
                )
                looks = []
                continue
            how = {"of": total, AT_BEST: best, "confidence": race.confidence}
            return {"accuracy": replace(proportion(right, seen), how=how)}
        return {"accuracy": proportion(right, seen)}

    def of(self, network: nn.Module) -> Measurement:
        """The accuracy of any network that gives class scores (batch, classes)."""
        right = total = 0
        for correct, labels in self._judged(network):
            right, total = right + int(correct.sum()), total + len(labels)
        return proportion(right, total)

    @torch.no_grad()
    def _judged(self, network: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
        """Of each batch: which answers are right, bool of shape (batch,), and the labels."""
        network.eval()
        for inputs, labels in self.loader:
            scores = call(network, inputs)
            if not torch.isfinite(scores).all():
                raise MeasureError("the network's outputs are not finite numbers")
            found = scores.argmax(dim=1)
            if found.shape != labels.shape:
                raise MeasureError(f"accuracy needs labels of shape {tuple(found.shape)}, not {tuple(labels.shape)}")
            yield found == labels, labels


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
    """A share in percent. The spread is half of Wilson's 95 % interval: how far other samples of the same size
    would scatter."""
    if total == 0:
        raise MeasureError("accuracy needs data, but the loader gave none")
    share, z = right / total, 1.96
    half = z / (1 + z * z / total) * sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return Measurement(100.0 * share, "%", spread=100.0 * half, n=total)
