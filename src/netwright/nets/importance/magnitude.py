"""Magnitude: the norm of a channel's weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..axes import Width
from ..cut import ModuleIndex
from ..permutation import expert_tensors
from ..supernet import SuperNet
from .base import Criterion, by_channel, scaled


@dataclass(frozen=True)
class L1(Criterion):
    """The sum of the absolute weights that belong to a channel (Li et al. 2017).

    Each tensor's norms are scaled to their mean, so that large layers do not outvote small ones (Fang et al.,
    "DepGraph", 2023, section 3.4).
    """

    power: ClassVar[int] = 1

    def scores(self, net: SuperNet, widths: Sequence[Width]) -> list[Tensor]:
        return [magnitude(net.index, width, self.power) for width in widths]


@dataclass(frozen=True)
class L2(L1):
    """The sum of the squared weights that belong to a channel, scaled like those of :class:`L1`."""

    power: ClassVar[int] = 2


@torch.no_grad()
def magnitude(index: ModuleIndex, width: Width, power: int) -> Tensor:
    """The norm of what the weights hold of each channel, shape (channels,)."""
    total = torch.zeros(width.channels, dtype=torch.float64)
    for slot in width.slices:
        whole = index.tensor(slot.tensor)
        if slot.tensor not in index.parameters or whole.dim() < 2:
            continue  # statistics and biases say little of what a channel is worth
        total += scaled(by_channel(whole.detach().abs().double().pow(power), slot, width.channels).sum(dim=1))
    for members in expert_tensors(index, width):
        total += scaled(torch.stack([index.tensor(m).detach().abs().double().pow(power).sum() for m in members]))
    return total
