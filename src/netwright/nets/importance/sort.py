"""Importance first: channels in falling order of importance, and what each option of an axis keeps of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product

import torch
from torch import Tensor

from ...core.candidate import Option
from ..axes import Axis, Width
from ..permutation import permute
from ..supernet import SuperNet
from .base import CRITERIA, Criterion


@dataclass(frozen=True)
class Importance:
    """What is kept of a network by each option of its axes.

    Args:
        kept: axis to what each of its options keeps, in order, of shape (options,); for an axis that reads others
            (:attr:`netwright.Axis.depends_on`), with a dimension more for the options of each.
        channels: axis to what the channels of each width are worth that it is made of, in their order.
        unjudged: axis to the reason why nothing is known of it.
    """

    kept: Mapping[str, Tensor]
    channels: Mapping[str, tuple[Tensor, ...]] = field(default_factory=dict)
    unjudged: Mapping[str, str] = field(default_factory=dict)


def sort_channels(net: SuperNet, criterion: Criterion | str = "l1") -> Importance:
    """Sort the channels, heads and experts of every :class:`Width` axis by importance, in place, the best first; also
    of widths that other axes are made of (:class:`TiedAxes`, :class:`RelativeWidth`).

    The network computes what it computed: a channel moves in all tensors of its group at once.

    Args:
        net: whose shared weights are sorted; once, after training or loading and before the search.
        criterion: how a channel's importance is found: ``l1`` or ``l2``, the norm of its weights;
            ``nw.importance.Activation(batches)``, ``nw.importance.Taylor(batches)`` or
            ``nw.importance.Trajectory(batches)``, what it does on data; ``module:Class`` or an object of one's own.

    Returns:
        What the channels are worth, in their new order, and what each option of an axis keeps: what
        :func:`prune_to_budget` needs.
    """
    return _rated(net, CRITERIA.make(criterion), move=True)


def importance_of(net: SuperNet, criterion: Criterion | str) -> Importance:
    """The same of channels as they stand, such as those of a network that was sorted before."""
    return _rated(net, CRITERIA.make(criterion), move=False)


def _rated(net: SuperNet, criterion: Criterion, move: bool) -> Importance:
    members = [(axis, part) for axis in net.axes for part in axis.members() if isinstance(part, Width)]
    channels: dict[str, list[Tensor]] = {axis.name: [] for axis, _ in members}
    for (axis, width), score in zip(members, criterion.scores(net, [part for _, part in members]), strict=True):
        if move:
            order = torch.argsort(score, descending=True)
            permute(net.index, width, order, net.writes.transforms)
            score = score[order]
        channels[axis.name].append(criterion.worth(score))
    kept, unjudged = {}, {}
    for axis in net.axes:
        found = _of_channels(net, axis, channels[axis.name]) if axis.name in channels else _whole(net, axis, criterion)
        if found is None:
            name = CRITERIA.text(criterion).partition(",")[0]
            unjudged[axis.name] = f"it drops no channels, and {name} cannot tell what its options do"
        else:
            kept[axis.name] = found
    return Importance(kept, {name: tuple(each) for name, each in channels.items()}, unjudged)


def _of_channels(net: SuperNet, axis: Axis, channels: list[Tensor]) -> Tensor:
    """What the channels are worth that each option leaves: the first of each width."""
    widths = [part for part in axis.members() if isinstance(part, Width)]
    others = [net.space[name].options for name in axis.depends_on]
    total = []
    for chosen in product(axis.options, *others):
        options = dict(zip((axis.name, *axis.depends_on), chosen, strict=True))
        stay = (_staying(net, width, options) for width in widths)
        total.append(sum(float(worth[:n].sum()) for worth, n in zip(channels, stay, strict=True)))
    return torch.tensor(total, dtype=torch.float64).reshape(len(axis.options), *map(len, others))


def _staying(net: SuperNet, width: Width, options: Mapping[str, Option]) -> int:
    """How many of a width's channels options leave, read off the cut: whatever axis the width is a part of."""
    part = width.slices[0]
    ranges = net.cut_of(options).keep.get(part.tensor, {}).get(part.dim)
    if ranges is None:
        return width.channels
    start, stop = part.offset, part.offset + width.channels * part.block
    return sum(max(0, min(b, stop) - max(a, start)) for a, b in ranges) // part.block


def _whole(net: SuperNet, axis: Axis, criterion: Criterion) -> Tensor | None:
    """What the options of an axis without channels keep: what all of it is worth, less the change that they make."""
    if axis.depends_on:
        return None
    changes = []
    for option in axis.options[:-1]:
        change = criterion.change(net, {axis.name: option})
        if change is None:
            return None
        changes.append(float(criterion.worth(torch.tensor([change], dtype=torch.float64))))
    given_up = torch.tensor([*changes, 0.0], dtype=torch.float64)
    return (given_up.max() - given_up).cummax(0).values  # a lower option keeps no more than a higher one
