"""Importance first: channels in falling order of importance."""

from __future__ import annotations

import torch
from torch import Tensor

from ..axes import Width
from ..permutation import permute
from ..supernet import SuperNet
from .base import CRITERIA, Criterion


def sort_channels(net: SuperNet, criterion: Criterion | str = "l1") -> dict[str, Tensor]:
    """Sort the channels, heads and experts of every :class:`Width` axis by importance, in place, the best first.

    The network computes what it computed: a channel moves in all tensors of its group at once.

    Args:
        net: whose shared weights are sorted; once, after training or loading and before the search.
        criterion: how a channel's importance is found: ``l1`` or ``l2``, the norm of its weights;
            ``nw.importance.Activation(batches)`` or ``nw.importance.Taylor(batches)``, what it does on data;
            ``module:Class`` or an object of one's own.

    Returns:
        What the channels are worth, in their new order, by the width's name: what :func:`prune_to_budget` needs.
    """

    made = CRITERIA.make(criterion)
    widths = [part for axis in net.axes for part in axis.members() if isinstance(part, Width)]
    worth = {}
    for width, score in zip(widths, made.scores(net, widths), strict=True):
        order = torch.argsort(score, descending=True)
        permute(net.index, width, order, net.writes.transforms)
        worth[width.name] = made.worth(score[order])
    return worth
