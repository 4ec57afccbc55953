"""Importance first: channels in falling order of importance, so that every cut of a width keeps the best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from ..core.errors import NetError, nearest
from .axes import Width
from .axes.width import Slot
from .cut import Anatomy
from .supernet import SuperNet

NORMS = {"l1": 1, "l2": 2}


def sort_channels(net: SuperNet, by: Literal["l1", "l2"] = "l1") -> None:
    """Sort the channels of every :class:`Width` axis by importance, in place, most important first.

    A channel's importance is the norm of all that the weights hold of it, each tensor scaled to its own mean, so that
    large layers do not outvote small ones (the group norm of Fang et al., "DepGraph", 2023, section 3.4). The network
    computes what it computed: a channel moves in all tensors of its group at once.

    Args:
        net: whose shared weights are sorted; once, after training or loading and before the search.
        by: ``l1`` or ``l2``.
    """
    if by not in NORMS:
        raise NetError(f"there is no importance {by!r}; {nearest(by, NORMS)}")
    for axis in net.axes:
        if isinstance(axis, Width):
            permute(net.anatomy, axis.slots, torch.argsort(importance(net.anatomy, axis, NORMS[by]), descending=True))


@torch.no_grad()
def importance(anatomy: Anatomy, width: Width, power: int) -> Tensor:
    """The importance of each channel, shape (channels,)."""
    total = torch.zeros(width.channels, dtype=torch.float64)
    for slot in width.slots:
        whole = anatomy.tensor(slot.tensor)
        if slot.tensor not in anatomy.parameters or whole.dim() < 2:
            continue  # statistics and biases say little of what a channel is worth
        own = whole.detach().double().movedim(slot.dim, 0)
        own = own[slot.offset : slot.offset + width.channels * slot.block].reshape(width.channels, -1)
        score = own.abs().pow(power).sum(dim=1)
        total += score / score.mean().clamp_min(1e-12)
    return total


@torch.no_grad()
def permute(anatomy: Anatomy, slots: Sequence[Slot], order: Tensor) -> None:
    """Put channel ``order[i]`` in place ``i``, in every slot of a group.

    Args:
        anatomy: of the network; its tensors are changed in place.
        slots: of one :class:`Width`.
        order: a permutation, shape (channels,).
    """
    for slot in slots:
        whole = anatomy.tensor(slot.tensor)
        index = torch.arange(whole.shape[slot.dim])
        blocks = torch.arange(len(order) * slot.block).reshape(len(order), slot.block)
        index[slot.offset : slot.offset + len(order) * slot.block] = blocks[order].flatten() + slot.offset
        whole.copy_(whole.index_select(slot.dim, index))
