"""Evenly spaced weights."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from .base import Precision, straight_through


class Even(Precision):
    """Weights are whole numbers of steps, each step shared by some weights of an output channel.

    The step is such that the largest of the weights that share it, in absolute value, is :attr:`greatest` steps, and is
    kept as it is: what is rounded once has the same steps again.

    Attributes:
        low: the least whole number.
        high: the greatest whole number.
    """

    low: int
    high: int

    @property
    def greatest(self) -> int:
        """The whole number of the largest weight, in absolute value."""
        return max(-self.low, self.high)

    @abstractmethod
    def steps(self, rows: Tensor) -> Tensor:
        """The step of each weight, not 0; negative where the largest weight of those that share it is positive and
        ``low`` is the greater number.

        Args:
            rows: weights of shape (channels, inputs).
        """

    def round_weights(self, weight: Tensor) -> Tensor:
        rows = weight.detach().flatten(1)
        steps = self.steps(rows)
        rounded = (rows / steps).round().clamp(self.low, self.high) * steps
        return straight_through(weight, rounded.reshape(weight.shape))


def symmetric_steps(rows: Tensor, most: int) -> Tensor:
    """One step for each channel, of which its largest weight has ``most``, in the shape of the rows."""
    steps = rows.abs().amax(1, keepdim=True) / most
    return torch.where(steps > 0, steps, torch.ones_like(steps)).expand_as(rows)
