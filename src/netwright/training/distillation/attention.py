"""Attention transfer: the network learns where the teacher looks."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from .inner import Inner, channels_of, of_one_size


@dataclass(frozen=True)
class Attention(Inner):
    """Maps of where activations are large are compared: sums of squares over channels, of any number.

    Zagoruyko and Komodakis, "Paying more attention to attention" (2017), section 3.1: a map is the sum of the squares
    of all channels at a position, divided by its length over all positions. The loss is the squared distance of the two
    maps, the mean over the examples: it lies between 0 and 2.
    """

    def compare(self, student: Tensor, teacher: Tensor) -> Tensor | None:
        if student.dim() < 3:
            return None  # one position alone
        maps = [_map(each) for each in of_one_size(student, teacher)]
        return (maps[0] - maps[1]).square().sum(1).mean() if maps[0].shape == maps[1].shape else None


def _map(tensor: Tensor) -> Tensor:
    """Of shape (n, positions)."""
    return F.normalize(tensor.square().sum(channels_of(tensor)).flatten(1), dim=1)
