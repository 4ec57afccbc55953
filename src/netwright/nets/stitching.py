"""Stitching: a network that runs as the first blocks of one trained network and the last blocks of a larger one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import MeasureError, NetError, format_error
from .axes import Route
from .devices import device_under, to_device
from .inputs import evaluating
from .pieces import Piece, find_blocks, pieces
from .recalibrate import calibration_inputs
from .supernet import SuperNet


class Stitched(nn.Module):
    """Anchors in pieces, and the layers between them; those that ``route`` names run, one after the other.

    Args:
        anchors: the pieces of each anchor; the last anchor is what runs at first.
    """

    def __init__(self, anchors: Iterable[Iterable[nn.Module]]) -> None:
        super().__init__()
        self.anchors = nn.ModuleList(nn.ModuleList(parts) for parts in anchors)
        self.stitches = nn.ModuleDict()
        self.route = _parts(len(self.anchors) - 1, 0, len(self.anchors[-1]))  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        for path in self.route:
            x = self.get_submodule(path)(x)
        return x


@dataclass(frozen=True)
class _Handover:
    """From an anchor behind one of its pieces to the next anchor, in front of the piece behind another."""

    anchor: int
    behind: int
    other_behind: int
    name: str

    @property
    def key(self) -> str:
        return f"{self.anchor}_{self.behind}"


def stitch(
    anchors: Sequence[nn.Module],
    example_inputs: Tensor,
    batches: Iterable[Any],
    *,
    blocks: Sequence[Iterable[str]] | None = None,
) -> SuperNet:
    """The super-network of stitched networks (Pan et al. 2023, "Stitchable neural networks", arXiv 2302.06586).

    A candidate is an anchor, which computes exactly what it computed, or an anchor up to one of its blocks, a linear
    layer over channels, and the next anchor from there on: ``route`` is the one choice. An anchor hands over from each
    of its blocks to the block of the next one that gives activations of the same size (but for channels) at the nearest
    share of those. The linear layers begin as the least-squares solution that maps the one activation to the other
    (section 3.3 of the paper, with an intercept). The paper then trains all for some epochs with a random candidate
    each step and a trained network as teacher: :func:`netwright.train` with ``rule="single-path"``. With anchors that
    are themselves distilled from one large network this is the pool of Shi et al. 2023, "Building variable-sized models
    via Learngene pool", arXiv 2312.05743.

    Args:
        anchors: trained networks of one input and one output, from the smallest to the largest. Their weights are
            shared, not copied. They must be traceable by ``torch.fx`` outside of their blocks, or an ``nn.Sequential``.
        example_inputs: what they are called with.
        batches: inputs, or batches with targets, for least squares; a few hundred images are many equations.
        blocks: of each anchor the paths of the blocks behind which it may hand over; by default the members of its
            lists and sequences of modules.

    Raises :class:`NetError` for anchors that cannot be taken apart or that do not fit together, and
    :class:`MeasureError` where there are no batches.
    """
    anchors = () if isinstance(anchors, nn.Module) else tuple(anchors)
    if len(anchors) < 2:
        raise NetError(f"stitch() takes two anchors or more, from the smallest to the largest, not {len(anchors)}")
    if blocks is not None and len(blocks) != len(anchors):
        raise NetError(f"blocks= has {len(blocks)} entries for {len(anchors)} anchors")
    for each in anchors:
        with evaluating(each), torch.no_grad():
            _activations([each], example_inputs)
    named = [find_blocks(each) for each in anchors] if blocks is None else [tuple(each) for each in blocks]
    parts = [pieces(each, own) for each, own in zip(anchors, named, strict=True)]
    net = Stitched([piece.module for piece in each] for each in parts)
    with evaluating(net), torch.no_grad():
        seen = [_activations(each.children(), example_inputs) for each in net.anchors]
    _check_ends(seen)
    handovers = [
        h for a in range(len(anchors) - 1) for h in _handovers(a, parts[a], parts[a + 1], seen[a], seen[a + 1])
    ]
    if not handovers:
        raise NetError(
            "no anchor can hand over to the next: no blocks of theirs give activations of the same size; name others "
            "in blocks="
        )
    _fit(net, handovers, seen, batches)
    return SuperNet(net, [Route("route", "", tuple(_routes(net, handovers)))], example_inputs)


def _parts(anchor: int, begin: int, end: int) -> tuple[str, ...]:
    return tuple(f"anchors.{anchor}.{i}" for i in range(begin, end))


def _routes(net: Stitched, handovers: Sequence[_Handover]) -> Iterable[tuple[str, tuple[str, ...]]]:
    """From the smallest anchor to the largest; between two, the less the first one does the later."""
    for a, own in enumerate(net.anchors):
        yield f"anchor{a}", _parts(a, 0, len(own))  # type: ignore[arg-type]
        for h in sorted((h for h in handovers if h.anchor == a), key=lambda h: -h.behind):
            rest = _parts(a + 1, h.other_behind + 1, len(net.anchors[a + 1]))  # type: ignore[arg-type]
            yield h.name, (*_parts(a, 0, h.behind + 1), f"stitches.{h.key}", *rest)


def _activations(parts: Iterable[nn.Module], x: Tensor, given: str = "its example inputs") -> list[Tensor]:
    """What each piece gives. Raises :class:`NetError` where one raises."""
    found = []
    try:
        for piece in parts:
            x = piece(x)
            found.append(x)
    except Exception as error:
        raise NetError(f"an anchor raises on {given}: {format_error(error)}") from error
    return found


def _check_ends(seen: Sequence[Sequence[Tensor]]) -> None:
    for one, other in pairwise(each[-1] for each in seen):
        if one.shape != other.shape:
            raise NetError(f"anchors give outputs of one shape; these give {list(one.shape)} and {list(other.shape)}")


def _size(activation: Tensor) -> tuple[int, ...]:
    """The shape without channels: dimension 1 of images, the last of tokens and features."""
    return tuple(activation.shape[:1] + activation.shape[2:] if activation.ndim > 3 else activation.shape[:-1])


def _handovers(
    a: int, own: Sequence[Piece], other: Sequence[Piece], seen: Sequence[Tensor], others: Sequence[Tensor]
) -> Iterable[_Handover]:
    sizes = [_size(x) for x in seen]
    for size in dict.fromkeys(sizes):
        mine = [i for i, piece in enumerate(own) if piece.block is not None and sizes[i] == size]
        theirs = [
            i for i, p in enumerate(other) if p.block is not None and _size(others[i]) == size and i + 1 < len(other)
        ]
        for rank, i in enumerate(mine):
            if theirs and seen[i].ndim == others[theirs[0]].ndim:
                j = theirs[max(0, round((rank + 1) / len(mine) * len(theirs)) - 1)]
                yield _Handover(a, i, j, f"anchor{a} to {own[i].block}, anchor{a + 1} behind {other[j].block}")


def _fit(
    net: Stitched, handovers: Sequence[_Handover], seen: Sequence[Sequence[Tensor]], batches: Iterable[Any]
) -> None:
    """Make the layers between anchors: least squares over all positions of all batches."""
    sums = {h: [torch.zeros((), dtype=torch.float64)] * 2 for h in handovers}
    count = 0
    with evaluating(net), torch.no_grad():
        for batch in batches:
            x = to_device(calibration_inputs(net, batch), device_under(net))
            if not isinstance(x, Tensor):
                raise NetError("stitch() takes batches of one tensor, with targets or without")
            found = [_activations(each.children(), x, "a batch") for each in net.anchors]
            count += 1
            for h in handovers:
                a, b = _rows(found[h.anchor][h.behind]), _rows(found[h.anchor + 1][h.other_behind])
                a = torch.cat([a, a.new_ones(len(a), 1)], 1)
                sums[h] = [sums[h][0].to(a.device) + a.mT @ a, sums[h][1].to(a.device) + a.mT @ b]
    if not count:
        raise MeasureError("there are no batches to fit stitches on; is the loader used up?")
    for h in handovers:
        solution = torch.linalg.lstsq(*(s.cpu() for s in sums[h]), driver="gelsd").solution
        like = seen[h.anchor][h.behind]
        into, out = len(solution) - 1, solution.shape[1]
        layer = nn.Conv2d(into, out, 1) if like.ndim == 4 else nn.Linear(into, out)
        with torch.no_grad():
            layer.weight.copy_(solution[:-1].mT.reshape(layer.weight.shape))
            layer.bias.copy_(solution[-1])  # type: ignore[union-attr]
        net.stitches[h.key] = layer.to(like).train(net.training)


def _rows(activation: Tensor) -> Tensor:
    """Channels of each position, (positions, channels)."""
    channels_last = activation.movedim(1, -1) if activation.ndim > 3 else activation
    return channels_last.flatten(0, -2).double()
