"""Operators that arrange: reshape, reorder, join, take apart, pick."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..trace import Op
from .base import MIXES, PLACES, Rows, rule

if TYPE_CHECKING:
    from ..ties import Ties


@rule("t")
def t(ties: Ties, op: Op) -> Rows | None:
    labels = ties.argument(op, 0)
    return labels[::-1] if labels is not None else None


@rule("transpose")
def transpose(ties: Ties, op: Op) -> Rows | None:
    labels = ties.argument(op, 0)
    if labels is None:
        return None
    swapped = list(labels)
    a, b = op.args[1], op.args[2]
    swapped[a], swapped[b] = swapped[b], swapped[a]
    return swapped


@rule("as_strided")
def as_strided(ties: Ties, op: Op) -> Rows | None:
    """Pooling to one position changes the layout of its result in this way, and not its size."""
    labels = ties.argument(op, 0)
    same = tuple(op.args[1]) == ties.trace.shapes[op.args[0].position]
    return labels if same else None


@rule("roll", because=PLACES)
def roll(ties: Ties, op: Op) -> Rows | None:
    labels = ties.argument(op, 0)
    if labels is None or len(op.args) < 3 or not op.args[2]:
        return None
    for d in op.args[2]:
        ties.labels.rigid(labels[d])
    return labels


@rule("pixel_shuffle", because=MIXES)
def pixel_shuffle(ties: Ties, op: Op) -> Rows | None:
    labels = ties.argument(op, 0)
    if labels is None:
        return None
    square = op.args[1] ** 2
    first = labels[-3][::square]
    ties.labels.unite(labels[-3], np.repeat(first, square))
    ties.labels.rigid(*labels[-2:])
    return [*labels[:-3], first, *(ties.labels.fixed(n) for n in ties.trace.shapes[op.writes[0]][-2:])]


@rule("index", because=PLACES)
def index_(ties: Ties, op: Op) -> Rows | None:
    labels = ties.argument(op, 0)
    which = op.args[1]
    at = [d for d, index in enumerate(which) if index is not None]
    if labels is not None and (covered := _masked(ties, op, labels)):
        start, stop = covered  # dimensions that become one
        return [*labels[:start], ties.labels.fixed(ties.trace.shapes[op.writes[0]][start]), *labels[stop:]]
    if labels is None or not at or at != list(range(at[0], at[-1] + 1)):
        return None
    for d in at:
        ties.labels.rigid(labels[d])
    numbers = [which[d].position for d in at]
    new = ties.broadcast(numbers, np.broadcast_shapes(*(ties.trace.shapes[p] for p in numbers)))
    return [*labels[: at[0]], *new, *labels[at[-1] + 1 :]]


@rule("index_put", because=PLACES)
def index_put_(ties: Ties, op: Op) -> Rows | None:
    labels = ties.argument(op, 0)
    covered = labels and _masked(ties, op, labels)
    if not labels or not covered:
        return None
    start, stop = covered
    given = [*labels[:start], None, *labels[stop:]]  # what is written has the form of what the mask chooses, broadcast
    for old, new in zip(reversed(given), reversed(ties.argument(op, 2) or []), strict=False):
        if old is not None and len(old) == len(new):
            ties.labels.unite(old, new)
        else:
            ties.labels.rigid(new)
    return labels


def _masked(ties: Ties, op: Op, labels: Rows) -> tuple[int, int] | None:
    """The dimensions that a single mask covers, which it makes rigid: from one to before another."""
    which = [(d, index.position) for d, index in enumerate(op.args[1]) if index is not None]
    if len(which) != 1 or ties.trace.dtypes[which[0][1]] is not torch.bool:
        return None
    start, mask = which[0]
    stop = start + len(ties.trace.shapes[mask])
    ties.labels.rigid(*labels[start:stop], *ties.read(mask))
    return start, stop


@rule("index_select", "index_add", "scatter_add", "gather", because=PLACES)
def _along(ties: Ties, op: Op) -> Rows | None:
    """Operators that pick or add along one dimension by an index: the other dimensions pass."""
    labels = ties.argument(op, 0)
    if labels is None:
        return None
    at = op.args[1] % len(labels)
    ties.labels.rigid(labels[at])
    for position in op.reads[1:]:
        other = ties.read(position)
        if len(other) == len(labels):
            for d, (a, b) in enumerate(zip(labels, other, strict=True)):
                if d == at:
                    ties.labels.rigid(b)
                elif len(a) == len(b):
                    ties.labels.unite(a, b)
    return [ties.labels.fixed(n) if d == at else labels[d] for d, n in enumerate(ties.trace.shapes[op.writes[0]])]


@rule("repeat")
def repeat_(ties: Ties, op: Op) -> Rows | None:
    labels = ties.argument(op, 0)
    if labels is None:
        return None
    times = op.args[1]
    padded = [ties.labels.fixed(1)] * (len(times) - len(labels)) + list(labels)
    return [np.tile(x, n) for x, n in zip(padded, times, strict=True)]


@rule("permute")
def permute(ties: Ties, op: Op) -> Rows | None:
    labels = ties.argument(op, 0)
    return [labels[d] for d in op.args[1]] if labels is not None else None


@rule("unsqueeze")
def unsqueeze(ties: Ties, op: Op) -> Rows | None:
    labels = ties.argument(op, 0)
    if labels is None:
        return None
    at = op.args[1] % (len(labels) + 1)
    return [*labels[:at], ties.labels.fixed(1), *labels[at:]]


@rule("squeeze")
def squeeze(ties: Ties, op: Op) -> Rows | None:
    labels = ties.argument(op, 0)
    if labels is None:
        return None
    named = op.args[1] if len(op.args) > 1 else range(len(labels))
    gone = {d % len(labels) for d in ((named,) if isinstance(named, int) else named)}
    return [x for d, x in enumerate(labels) if not (d in gone and len(x) == 1)]


@rule("expand")
def expand(ties: Ties, op: Op) -> Rows | None:
    labels = ties.argument(op, 0)
    out = ties.trace.shapes[op.writes[0]]
    if labels is None:
        return None
    padded = [None] * (len(out) - len(labels)) + list(labels)
    # What is repeated is the same at every index, and of whatever size the network asks for.
    return [x if x is not None and len(x) == n else ties.labels.new(n) for x, n in zip(padded, out, strict=True)]


@rule("cat")
def cat(ties: Ties, op: Op) -> Rows | None:
    parts = [ties.read(p) for p in op.reads if len(ties.trace.shapes[p]) > 1 or len(op.reads) == 1]
    if len(parts) != len(op.reads) or not parts:
        return None
    at = (op.args[1] if len(op.args) > 1 else op.kwargs.get("dim", 0)) % len(parts[0])
    for part in parts[1:]:
        for d, (a, b) in enumerate(zip(parts[0], part, strict=True)):
            if d != at:
                ties.labels.unite(a, b)
    return [np.concatenate([p[d] for p in parts]) if d == at else x for d, x in enumerate(parts[0])]


def _pieces(ties: Ties, op: Op, sizes: Sequence[int], at: int) -> None:
    labels = ties.read(op.args[0].position)
    start = 0
    for position, size in zip(op.writes, sizes, strict=True):
        piece = [x[start : start + size] if d == at % len(labels) else x for d, x in enumerate(labels)]
        ties.write(position, piece)
        start += size


@rule("split", "split_with_sizes", "unsafe_split")
def split(ties: Ties, op: Op) -> Rows | None:
    at = op.args[2] if len(op.args) > 2 else 0
    sizes = [ties.trace.shapes[p][at] for p in op.writes]
    _pieces(ties, op, sizes, at)
    if len(set(sizes)) == 1:  # a split in equal parts stays one only if they shrink together
        used = [position for position in op.writes if ties.is_used(position)]
        for position in used[1:]:
            ties.labels.unite(ties.known[used[0]][at], ties.known[position][at])
    return ties.known[op.writes[0]]


@rule("unbind", because=PLACES)
def unbind(ties: Ties, op: Op) -> Rows | None:
    labels = ties.argument(op, 0)
    if labels is None:
        return None
    at = (op.args[1] if len(op.args) > 1 else 0) % len(labels)
    ties.labels.rigid(labels[at])
    for position in op.writes:
        ties.write(position, [x for d, x in enumerate(labels) if d != at])
    return ties.known[op.writes[0]]


@rule("stack")
def stack(ties: Ties, op: Op) -> Rows | None:
    parts = [ties.read(p) for p in op.reads]
    out = ties.trace.shapes[op.writes[0]]
    at = (op.args[1] if len(op.args) > 1 else op.kwargs.get("dim", 0)) % len(out)
    for part in parts[1:]:
        for a, b in zip(parts[0], part, strict=True):
            ties.labels.unite(a, b)
    return [*parts[0][:at], ties.labels.fixed(out[at]), *parts[0][at:]]


@rule("slice")
def slice_(ties: Ties, op: Op) -> Rows | None:
    labels = ties.argument(op, 0)
    if labels is None:
        return None
    given = list(op.args[1:])
    at, start, stop, step = given + [0, None, None, 1][len(given) :]
    return [x[slice(start, stop, step)] if d == at % len(labels) else x for d, x in enumerate(labels)]


@rule("select", because=PLACES)
def select(ties: Ties, op: Op) -> Rows | None:
    labels = ties.argument(op, 0)
    if labels is None:
        return None
    at = op.args[1] % len(labels)
    ties.labels.rigid(labels[at])
    return [x for d, x in enumerate(labels) if d != at]


@rule("constant_pad_nd")
def constant_pad_nd(ties: Ties, op: Op) -> Rows | None:
    labels = ties.argument(op, 0)
    if labels is None:
        return None
    result = list(labels)
    pads = op.args[1]
    for i in range(len(pads) // 2):
        before, after = pads[2 * i], pads[2 * i + 1]
        own = result[-1 - i]
        start, stop = max(0, -before), len(own) + min(0, after)
        ties.labels.rigid(own[:start], own[stop:])  # cut off by number
        own = own[start:stop]
        zeros = ties.labels.fixed(max(0, before)), ties.labels.fixed(max(0, after))
        result[-1 - i] = np.concatenate([zeros[0], own, zeros[1]])
    return result


@rule("view", "_unsafe_view", "reshape", "_reshape_alias")
def view(ties: Ties, op: Op) -> Rows | None:
    labels = ties.argument(op, 0)
    if labels is None:
        return None
    return ties.reshaped(labels, op.writes[0])


@rule("view_as_real")
def view_as_real(ties: Ties, op: Op) -> Rows | None:
    labels = ties.argument(op, 0)
    return [*labels, ties.labels.fixed(2)] if labels is not None else None


@rule("view_as_complex")
def view_as_complex(ties: Ties, op: Op) -> Rows | None:
    labels = ties.argument(op, 0)
    return labels[:-1] if labels is not None else None
