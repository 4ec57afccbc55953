"""Two outputs and two losses, in a task of one's own: which pulse stands in a noisy signal, and when it comes.

netwright fit examples/two_outputs/recipe.yaml
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import netwright as nw

LENGTH, MS = 64, 0.5
"""Samples of a signal, and milliseconds between them."""
PULSES = torch.tensor([[1, 2, 3, 2, 1], [1, 3, 0, -3, -1], [3, 3, 3, 3, 3]]) * 0.7


def part(count: int, seed: int) -> nw.Split:
    """Signals (n, 1, 64), and of each the kind of its pulse and its time in ms."""
    draw = torch.Generator().manual_seed(seed)
    signals = 0.5 * torch.randn(count, 1, LENGTH, generator=draw)
    kinds = torch.randint(len(PULSES), (count,), generator=draw)
    starts = torch.randint(LENGTH - PULSES.shape[1], (count,), generator=draw)
    for signal, kind, start in zip(signals, kinds, starts, strict=True):
        signal[0, start : start + PULSES.shape[1]] += PULSES[kind]
    return nw.Split(signals, {"kind": kinds, "time": MS * starts.float()})


class Net(nn.Module):
    """Two heads on one body: scores of the kinds, and a time."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(1, 32, 5, padding=2), nn.BatchNorm1d(32), nn.ReLU(),
            nn.Conv1d(32, 32, 5, padding=2), nn.BatchNorm1d(32), nn.ReLU(),
        )  # fmt: skip
        self.kind, self.where = nn.Linear(32, len(PULSES)), nn.Conv1d(32, 1, 1)
        self.register_buffer("times", MS * torch.arange(LENGTH))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.body(x)
        share = self.where(x)[:, 0].softmax(1)  # of the chance that the pulse begins here
        return {"kind": self.kind(x.amax(2)), "time": (share * self.times).sum(1)}


@dataclass(frozen=True)
class FindPulse(nw.Task):
    """What the pulse is and when it comes: the sum of two losses.

    Args:
        time_weight: how much the loss of the time counts beside that of the kind.
    """

    time_weight: float = 0.5

    metrics = (nw.Metric("time_error", "ms"), nw.Metric("missed", "%"))

    def loss(self, outputs: Any, targets: Any) -> Tensor:
        return F.cross_entropy(outputs["kind"], targets["kind"]) + self.time_weight * F.smooth_l1_loss(
            outputs["time"], targets["time"]
        )

    def distillation_loss(self, outputs: Any, teacher: Any, targets: Any) -> Tensor:
        """Sub-networks learn the kind as the largest network believes it, and the time as it tells it."""
        return F.cross_entropy(outputs["kind"], teacher["kind"].softmax(1)) + self.time_weight * F.smooth_l1_loss(
            outputs["time"], teacher["time"]
        )

    def evaluator(self) -> nw.Evaluator:
        """The means of two figures of each signal: how many ms off, and whether another kind is answered."""
        return nw.tasks.MeanEvaluator(
            {
                self.metrics[0]: lambda outputs, targets: (outputs["time"] - targets["time"]).abs(),
                self.metrics[1]: lambda outputs, targets: 100.0 * (outputs["kind"].argmax(1) != targets["kind"]),
            }
        )

    def example_script(self) -> str:
        """For the README of exported networks, in NumPy."""
        return (
            'print("test time_error:", abs(outputs["time"] - labels["time"]).mean(), "ms")\n'
            'print("test missed:", 100 * (outputs["kind"].argmax(1) != labels["kind"]).mean(), "%")\n'
        )


def supernet() -> nw.SuperNet:
    """What can be cut is found by netwright."""
    return nw.wrap(Net(), torch.zeros(1, 1, LENGTH))


def data() -> nw.Data:
    """Signals drawn with seeds of their own."""
    return nw.Data(part(512, 1), part(256, 2), part(256, 3))
