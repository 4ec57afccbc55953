"""How well a network does its job."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import sqrt
from typing import Any

import torch
from torch import nn

from ..core.errors import MeasureError
from ..core.metric import Measurement, Metric
from ..nets.inputs import call
from .base import Measurer, Subject


class Accuracy(Measurer):
    """Top-1 accuracy, in percent.

    Args:
        loader: (inputs, labels) batches; labels are class indices of shape (batch,).
    """

    metrics = (Metric("accuracy", "%", "max"),)
    learned = True

    def __init__(self, loader: Iterable[Any]) -> None:
        self.loader = loader

    def measure(self, subject: Subject) -> Mapping[str, Measurement]:
        return {"accuracy": self.of(subject.module)}

    @torch.no_grad()
    def of(self, network: nn.Module) -> Measurement:
        """The accuracy of any network that gives class scores (batch, classes)."""
        network.eval()
        right = total = 0
        for inputs, labels in self.loader:
            scores = call(network, inputs)
            if not torch.isfinite(scores).all():
                raise MeasureError("the network's outputs are not finite numbers")
            found = scores.argmax(dim=1)
            if found.shape != labels.shape:
                raise MeasureError(f"accuracy needs labels of shape {tuple(found.shape)}, not {tuple(labels.shape)}")
            right += int((found == labels).sum())
            total += len(labels)
        return proportion(right, total)


def proportion(right: int, total: int) -> Measurement:
    """A share in percent. The spread is half of Wilson's 95 % interval: how far other samples of the same size
    would scatter."""
    if total == 0:
        raise MeasureError("accuracy needs data, but the loader gave none")
    share, z = right / total, 1.96
    half = z / (1 + z * z / total) * sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return Measurement(100.0 * share, "%", spread=100.0 * half, n=total)
