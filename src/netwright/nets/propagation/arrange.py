"""Operators that arrange: reshape, reorder, join, take apart, pick."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..trace import Op
from .base import MIXES, PLACES, propagates
from .labels import Rows, TensorLabels


@propagates("t")
def t(tensors: TensorLabels, op: Op) -> Rows | None:
    labels = tensors.argument(op, 0)
    return labels[::-1] if labels is not None else None


@propagates("transpose")
def transpose(tensors: TensorLabels, op: Op) -> Rows | None:
    labels = tensors.argument(op, 0)
    if labels is None:
        return None
    swapped = list(labels)
    a, b = op.args[1], op.args[2]
    swapped[a], swapped[b] = swapped[b], swapped[a]
    return swapped


@propagates("as_strided")
def as_strided(tensors: TensorLabels, op: Op) -> Rows | None:
    """Pooling to one position changes the layout of its result in this way, and not its size."""
    labels = tensors.argument(op, 0)
    same = tuple(op.args[1]) == tensors.trace.shapes[op.args[0].position]
    return labels if same else None


@propagates("roll", because=PLACES)
def roll(tensors: TensorLabels, op: Op) -> Rows | None:
    labels = tensors.argument(op, 0)
    if labels is None or len(op.args) < 3 or not op.args[2]:
        return None
    for d in op.args[2]:
        tensors.labels.rigid(labels[d])
    return labels


@propagates("pixel_shuffle", because=MIXES)
def pixel_shuffle(tensors: TensorLabels, op: Op) -> Rows | None:
    labels = tensors.argument(op, 0)
    if labels is None:
        return None
    square = op.args[1] ** 2
    first = labels[-3][::square]
    tensors.labels.unite(labels[-3], np.repeat(first, square))
    tensors.labels.rigid(*labels[-2:])
    return [*labels[:-3], first, *(tensors.labels.fixed(n) for n in tensors.trace.shapes[op.writes[0]][-2:])]


@propagates("index", because=PLACES)
def index_(tensors: TensorLabels, op: Op) -> Rows | None:
    labels = tensors.argument(op, 0)
    which = op.args[1]
    at = [d for d, index in enumerate(which) if index is not None]
    if labels is not None and (covered := _masked(tensors, op, labels)):
        start, stop = covered  # dimensions that become one
        return [*labels[:start], tensors.labels.fixed(tensors.trace.shapes[op.writes[0]][start]), *labels[stop:]]
    if labels is None or not at or at != list(range(at[0], at[-1] + 1)):
        return None
    for d in at:
        tensors.labels.rigid(labels[d])
    numbers = [which[d].position for d in at]
    new = tensors.broadcast(numbers, np.broadcast_shapes(*(tensors.trace.shapes[p] for p in numbers)))
    return [*labels[: at[0]], *new, *labels[at[-1] + 1 :]]


@propagates("index_put", because=PLACES)
def index_put_(tensors: TensorLabels, op: Op) -> Rows | None:
    labels = tensors.argument(op, 0)
    covered = labels and _masked(tensors, op, labels)
    if not labels or not covered:
        return None
    start, stop = covered
    given = [*labels[:start], None, *labels[stop:]]  # what is written has the form of what the mask chooses, broadcast
    for old, new in zip(reversed(given), reversed(tensors.argument(op, 2) or []), strict=False):
        if old is not None and len(old) == len(new):
            tensors.labels.unite(old, new)
        else:
            tensors.labels.rigid(new)
    return labels


def _masked(tensors: TensorLabels, op: Op, labels: Rows) -> tuple[int, int] | None:
    """The dimensions that a single mask covers, which it makes rigid: from one to before another."""
    which = [(d, index.position) for d, index in enumerate(op.args[1]) if index is not None]
    if len(which) != 1 or tensors.trace.dtypes[which[0][1]] is not torch.bool:
        return None
    start, mask = which[0]
    stop = start + len(tensors.trace.shapes[mask])
    tensors.labels.rigid(*labels[start:stop], *tensors.read(mask))
    return start, stop


@propagates("index_select", "index_add", "scatter_add", "gather", because=PLACES)
def _along(tensors: TensorLabels, op: Op) -> Rows | None:
    """Operators that pick or add along one dimension by an index: the other dimensions pass."""
    labels = tensors.argument(op, 0)
    if labels is None:
        return None
    at = op.args[1] % len(labels)
    tensors.labels.rigid(labels[at])
    for position in op.reads[1:]:
        other = tensors.read(position)
        if len(other) == len(labels):
            for d, (a, b) in enumerate(zip(labels, other, strict=True)):
                if d == at:
                    tensors.labels.rigid(b)
                elif len(a) == len(b):
                    tensors.labels.unite(a, b)
    return [tensors.labels.fixed(n) if d == at else labels[d] for d, n in enumerate(tensors.trace.shapes[op.writes[0]])]


@propagates("repeat")
def repeat_(tensors: TensorLabels, op: Op) -> Rows | None:
    labels = tensors.argument(op, 0)
    if labels is None:
        return None
    times = op.args[1]
    padded = [tensors.labels.fixed(1)] * (len(times) - len(labels)) + list(labels)
    return [np.tile(x, n) for x, n in zip(padded, times, strict=True)]


@propagates("permute")
def permute(tensors: TensorLabels, op: Op) -> Rows | None:
    labels = tensors.argument(op, 0)
    return [labels[d] for d in op.args[1]] if labels is not None else None


@propagates("unsqueeze")
def unsqueeze(tensors: TensorLabels, op: Op) -> Rows | None:
    labels = tensors.argument(op, 0)
    if labels is None:
        return None
    at = op.args[1] % (len(labels) + 1)
    return [*labels[:at], tensors.labels.fixed(1), *labels[at:]]


@propagates("squeeze")
def squeeze(tensors: TensorLabels, op: Op) -> Rows | None:
    labels = tensors.argument(op, 0)
    if labels is None:
        return None
    named = op.args[1] if len(op.args) > 1 else range(len(labels))
    gone = {d % len(labels) for d in ((named,) if isinstance(named, int) else named)}
    return [x for d, x in enumerate(labels) if not (d in gone and len(x) == 1)]


@propagates("expand")
def expand(tensors: TensorLabels, op: Op) -> Rows | None:
    labels = tensors.argument(op, 0)
    out = tensors.trace.shapes[op.writes[0]]
    if labels is None:
        return None
    padded = [None] * (len(out) - len(labels)) + list(labels)
    # What is repeated is the same at every index, and of whatever size the network asks for.
    return [x if x is not None and len(x) == n else tensors.labels.new(n) for x, n in zip(padded, out, strict=True)]


@propagates("cat")
def cat(tensors: TensorLabels, op: Op) -> Rows | None:
    parts = [tensors.read(p) for p in op.reads if len(tensors.trace.shapes[p]) > 1 or len(op.reads) == 1]
    if len(parts) != len(op.reads) or not parts:
        return None
    at = (op.args[1] if len(op.args) > 1 else op.kwargs.get("dim", 0)) % len(parts[0])
    for part in parts[1:]:
        for d, (a, b) in enumerate(zip(parts[0], part, strict=True)):
            if d != at:
                tensors.labels.unite(a, b)
    return [np.concatenate([p[d] for p in parts]) if d == at else x for d, x in enumerate(parts[0])]


def _pieces(tensors: TensorLabels, op: Op, sizes: Sequence[int], at: int) -> None:
    labels = tensors.read(op.args[0].position)
    start = 0
    for position, size in zip(op.writes, sizes, strict=True):
        piece = [x[start : start + size] if d == at % len(labels) else x for d, x in enumerate(labels)]
        tensors.write(position, piece)
        start += size


@propagates("split", "split_with_sizes", "unsafe_split")
def split(tensors: TensorLabels, op: Op) -> Rows | None:
    at = op.args[2] if len(op.args) > 2 else 0
    sizes = [tensors.trace.shapes[p][at] for p in op.writes]
    _pieces(tensors, op, sizes, at)
    if len(set(sizes)) == 1:  # a split in equal parts stays one only if they shrink together
        used = [position for position in op.writes if tensors.is_used(position)]
        for position in used[1:]:
            tensors.labels.unite(tensors.known[used[0]][at], tensors.known[position][at])
    return tensors.known[op.writes[0]]


@propagates("unbind", because=PLACES)
def unbind(tensors: TensorLabels, op: Op) -> Rows | None:
    labels = tensors.argument(op, 0)
    if labels is None:
        return None
    at = (op.args[1] if len(op.args) > 1 else 0) % len(labels)
    tensors.labels.rigid(labels[at])
    for position in op.writes:
        tensors.write(position, [x for d, x in enumerate(labels) if d != at])
    return tensors.known[op.writes[0]]


@propagates("stack")
def stack(tensors: TensorLabels, op: Op) -> Rows | None:
    parts = [tensors.read(p) for p in op.reads]
    out = tensors.trace.shapes[op.writes[0]]
    at = (op.args[1] if len(op.args) > 1 else op.kwargs.get("dim", 0)) % len(out)
    for part in parts[1:]:
        for a, b in zip(parts[0], part, strict=True):
            tensors.labels.unite(a, b)
    return [*parts[0][:at], tensors.labels.fixed(out[at]), *parts[0][at:]]


@propagates("slice")
def slice_(tensors: TensorLabels, op: Op) -> Rows | None:
    labels = tensors.argument(op, 0)
    if labels is None:
        return None
    given = list(op.args[1:])
    at, start, stop, step = given + [0, None, None, 1][len(given) :]
    return [x[slice(start, stop, step)] if d == at % len(labels) else x for d, x in enumerate(labels)]


@propagates("select", because=PLACES)
def select(tensors: TensorLabels, op: Op) -> Rows | None:
    labels = tensors.argument(op, 0)
    if labels is None:
        return None
    at = op.args[1] % len(labels)
    tensors.labels.rigid(labels[at])
    return [x for d, x in enumerate(labels) if d != at]


@propagates("constant_pad_nd")
def constant_pad_nd(tensors: TensorLabels, op: Op) -> Rows | None:
    labels = tensors.argument(op, 0)
    if labels is None:
        return None
    result = list(labels)
    pads = op.args[1]
    for i in range(len(pads) // 2):
        before, after = pads[2 * i], pads[2 * i + 1]
        own = result[-1 - i]
        start, stop = max(0, -before), len(own) + min(0, after)
        tensors.labels.rigid(own[:start], own[stop:])  # cut off by number
        own = own[start:stop]
        zeros = tensors.labels.fixed(max(0, before)), tensors.labels.fixed(max(0, after))
        result[-1 - i] = np.concatenate([zeros[0], own, zeros[1]])
    return result


@propagates("view", "_unsafe_view", "reshape", "_reshape_alias")
def view(tensors: TensorLabels, op: Op) -> Rows | None:
    labels = tensors.argument(op, 0)
    if labels is None:
        return None
    return tensors.reshaped(labels, op.writes[0])


@propagates("view_as_real")
def view_as_real(tensors: TensorLabels, op: Op) -> Rows | None:
    labels = tensors.argument(op, 0)
    return [*labels, tensors.labels.fixed(2)] if labels is not None else None


@propagates("view_as_complex")
def view_as_complex(tensors: TensorLabels, op: Op) -> Rows | None:
    labels = tensors.argument(op, 0)
    return labels[:-1] if labels is not None else None
