"""Ties: which indices of which tensors must stay or go together.

Every index of every dimension carries a label. Operators pass labels on, and unite them where indices meet: an
addition unites the channels of its operands, a convolution its input's channels with its kernel's, a concatenation
lays labels side by side, a reshape repeats or gathers them. What reaches a place that cannot shrink (a batch, an
image's rows, an operator that is not known) is rigid. In the end, the indices of the weights that share a label are
one channel of the network.

The rules may be incomplete without doing harm: :mod:`netwright.nets.wrap` believes a group only after it has permuted
it in the weights and found the network's output unchanged, and has run the network with it cut.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from math import prod

import numpy as np

from .trace import Op, Ref, Trace

Labels = list[np.ndarray]
"""One array of labels per dimension."""

RIGID = 0

ELEMENTWISE = frozenset(
    """add add_ sub sub_ mul mul_ div div_ rsub maximum minimum pow where eq ne lt le gt ge bitwise_and bitwise_or
    logical_and logical_or masked_fill masked_fill_ copy_ lerp addcmul addcdiv atan2 fmod remainder _prelu_kernel
    gelu silu silu_ hardswish hardswish_ hardsigmoid hardsigmoid_ hardtanh hardtanh_ relu relu_ sigmoid sigmoid_ tanh
    clone detach alias _to_copy contiguous lift_fresh dropout native_dropout exp log sqrt rsqrt neg abs erf mish elu
    leaky_relu leaky_relu_ softplus clamp clamp_ clamp_min clamp_max _softmax _log_softmax cumsum logical_not
    bitwise_not reciprocal sin cos square floor ceil round sign isnan fill_ zero_ zeros_like ones_like full_like
    empty_like rand_like bernoulli_ to positive tril triu _safe_softmax""".split()  # noqa: SIM905
)
"""Results have the shape of their arguments (broadcast), index by index."""

REDUCTIONS = frozenset("mean sum amax amin std var prod any all argmax argmin logsumexp".split())  # noqa: SIM905
POOLS = frozenset(
    """max_pool2d_with_indices avg_pool2d _adaptive_avg_pool2d adaptive_avg_pool2d adaptive_max_pool2d avg_pool1d
    _adaptive_avg_pool3d adaptive_avg_pool1d max_pool3d_with_indices avg_pool3d upsample_nearest2d upsample_bilinear2d
    upsample_nearest1d _upsample_nearest_exact2d upsample_bicubic2d max_pool1d adaptive_max_pool1d reflection_pad2d
    replication_pad2d reflection_pad1d""".split()  # noqa: SIM905
)
"""Batch and channels pass; positions are rigid."""


class Ties:
    """Labels of all tensors of a trace.

    Args:
        trace: of the whole network.

    Attributes:
        unknown: operators without a rule, by name, with the modules that ran them.
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.unknown: dict[str, set[str]] = defaultdict(set)
        self._root: list[int] = [RIGID]
        self._labels: dict[int, Labels] = {}
        for op in trace.ops:
            self._follow(op)
        for position, buffer in enumerate(trace.buffers):
            if buffer in trace.outputs and position in self._labels:
                for labels in self._labels[position]:
                    self._rigid(labels)

    def of(self, position: int) -> Labels:
        """The labels of a tensor, resolved: equal labels stay or go together; 0 stays."""
        return [np.array([self._find(x) for x in labels], dtype=np.int64) for labels in self._read(position)]

    # -- labels ------------------------------------------------------------------------------------------------

    def _read(self, position: int) -> Labels:
        """A tensor's labels; weights get labels of their own when first seen, other new tensors are rigid."""
        known = self._labels.get(position)
        if known is None:
            shape = self.trace.shapes[position]
            fresh = self.trace.buffers[position] in self.trace.weights
            known = [self._new(n) if fresh else np.zeros(n, dtype=np.int64) for n in shape]
            self._labels[position] = known
        return known

    def _new(self, n: int) -> np.ndarray:
        first = len(self._root)
        self._root.extend(range(first, first + n))
        return np.arange(first, first + n, dtype=np.int64)

    def _find(self, label: int) -> int:
        while self._root[label] != label:
            self._root[label] = self._root[self._root[label]]
            label = self._root[label]
        return int(label)

    def _unite(self, one: np.ndarray, other: np.ndarray) -> None:
        for a, b in zip(one.tolist(), other.tolist(), strict=True):
            a, b = self._find(a), self._find(b)
            if a != b:
                self._root[max(a, b)] = min(a, b)  # the rigid label is the smallest

    def _rigid(self, *labels: np.ndarray) -> None:
        for array in labels:
            self._unite(array, np.zeros_like(array))

    # -- operators ---------------------------------------------------------------------------------------------

    def _follow(self, op: Op) -> None:
        rule: Callable[[Op], Labels | None] | None = getattr(self, f"_op_{op.name}", None)
        if rule is None and op.name in ELEMENTWISE:
            rule = self._elementwise
        if rule is None and op.name in REDUCTIONS:
            rule = self._reduction
        if rule is None and op.name in POOLS:
            rule = self._pool
        result = rule(op) if rule and op.reads else None
        if result is None:
            if op.reads and rule is None:
                self.unknown[op.name].add(op.module)
            self._stop(op)
            return
        self._write(op.writes[0], result)
        for extra in op.writes[1:]:
            self._labels.setdefault(extra, [np.zeros(n, dtype=np.int64) for n in self.trace.shapes[extra]])

    def _write(self, position: int, labels: Labels) -> None:
        shape = self.trace.shapes[position]
        if tuple(len(x) for x in labels) != shape:
            for array in labels:
                self._rigid(array)
            labels = [np.zeros(n, dtype=np.int64) for n in shape]
        if position in self._labels:  # in place
            for old, new in zip(self._labels[position], labels, strict=True):
                self._unite(old, new)
        else:
            self._labels[position] = labels

    def _stop(self, op: Op) -> None:
        """Nothing that such an operator reads can shrink."""
        for position in op.reads:
            self._rigid(*self._read(position))
        for position in op.writes:
            self._labels.setdefault(position, [np.zeros(n, dtype=np.int64) for n in self.trace.shapes[position]])

    def _arg(self, op: Op, at: int) -> Labels | None:
        value = op.args[at] if at < len(op.args) else None
        return self._read(value.position) if isinstance(value, Ref) else None

    def _shape(self, op: Op, at: int = 0) -> tuple[int, ...]:
        return self.trace.shapes[op.args[at].position]

    def _elementwise(self, op: Op) -> Labels | None:
        out = self.trace.shapes[op.writes[0]]
        result: list[np.ndarray | None] = [None] * len(out)
        for position in op.reads:
            labels = self._read(position)
            shape = self.trace.shapes[position]
            for dim in range(1, len(shape) + 1):
                if dim > len(out) or (shape[-dim] == 1 and out[-dim] != 1):
                    continue  # broadcast: says nothing about the result's indices
                if result[-dim] is None:
                    result[-dim] = labels[-dim]
                else:
                    self._unite(result[-dim], labels[-dim])  # type: ignore[arg-type]
        return [x if x is not None else np.zeros(n, dtype=np.int64) for x, n in zip(result, out, strict=True)]

    def _reduction(self, op: Op) -> Labels | None:
        labels = self._arg(op, 0)
        out = self.trace.shapes[op.writes[0]]
        if labels is None or not out:
            return []
        named = next((a for a in op.args[1:] if isinstance(a, tuple | int) and not isinstance(a, bool)), None)
        dims = op.kwargs.get("dim", named)
        if dims is None:
            return [] if not out else None
        gone = {d % len(labels) for d in ((dims,) if isinstance(dims, int) else dims)}
        if len(out) == len(labels):
            return [np.zeros(1, dtype=np.int64) if d in gone else x for d, x in enumerate(labels)]
        return [x for d, x in enumerate(labels) if d not in gone]

    def _pool(self, op: Op) -> Labels | None:
        labels = self._arg(op, 0)
        out = self.trace.shapes[op.writes[0]]
        if labels is None or len(out) != len(labels) or len(out) < 3:
            return None
        self._rigid(*labels[2:])
        return [labels[0], labels[1], *(np.zeros(n, dtype=np.int64) for n in out[2:])]

    def _op_convolution(self, op: Op) -> Labels | None:
        data, weight, bias = self._arg(op, 0), self._arg(op, 1), self._arg(op, 2)
        if data is None or weight is None:
            return None
        groups, transposed = op.args[8], op.args[6]
        made, read = (weight[1], weight[0]) if transposed else (weight[0], weight[1])
        self._rigid(*weight[2:], *data[2:])
        into = data[1]
        if groups == 1:
            self._unite(into, read)
        else:
            per_in, per_out = len(into) // groups, len(made) // groups
            if transposed:
                self._rigid(into, made, read)
            else:
                self._rigid(read)
                for g in range(groups):  # a group stays or goes whole
                    first = into[g * per_in]
                    for part in (into[g * per_in : (g + 1) * per_in], made[g * per_out : (g + 1) * per_out]):
                        self._unite(part, np.full(len(part), first))
        if bias is not None:
            self._unite(bias[0], made)
        return [data[0], made, *(np.zeros(n, dtype=np.int64) for n in self.trace.shapes[op.writes[0]][2:])]

    def _product(self, left: Labels | None, right: Labels | None) -> Labels | None:
        if left is None or right is None:
            return None
        self._unite(left[-1], right[-2])
        for a, b in zip(left[:-2], right[:-2], strict=True):
            self._unite(a, b)
        return [*left[:-1], right[-1]]

    def _op_mm(self, op: Op) -> Labels | None:
        return self._product(self._arg(op, 0), self._arg(op, 1))

    _op_bmm = _op_mm

    def _op_addmm(self, op: Op) -> Labels | None:
        result = self._product(self._arg(op, 1), self._arg(op, 2))
        addend = self._arg(op, 0)
        if result is not None and addend is not None and len(addend[-1]) == len(result[-1]):
            self._unite(addend[-1], result[-1])
        return result

    _op_baddbmm = _op_addmm

    def _op_native_batch_norm(self, op: Op) -> Labels | None:
        labels = self._arg(op, 0)
        if labels is None:
            return None
        for at in range(1, 5):
            own = self._arg(op, at)
            if own is not None:
                self._unite(own[0], labels[1])
        return labels

    _op__native_batch_norm_legit_no_training = _op_native_batch_norm
    _op__native_batch_norm_legit = _op_native_batch_norm
    _op_cudnn_batch_norm = _op_native_batch_norm

    def _op_native_layer_norm(self, op: Op) -> Labels | None:
        labels = self._arg(op, 0)
        for at in (2, 3):
            own = self._arg(op, at)
            if own is not None and labels is not None:
                for a, b in zip(own, labels[-len(own) :], strict=True):
                    self._unite(a, b)
        return labels

    def _op_native_group_norm(self, op: Op) -> Labels | None:
        labels = self._arg(op, 0)
        if labels is None:
            return None
        groups = op.args[6]
        per_group = len(labels[1]) // groups
        for g in range(groups):  # statistics are of a group: it stays or goes whole
            block = labels[1][g * per_group : (g + 1) * per_group]
            self._unite(block, np.full(len(block), block[0]))
        for at in (1, 2):
            own = self._arg(op, at)
            if own is not None:
                self._unite(own[0], labels[1])
        self._rigid(*labels[2:])
        return labels

    def _attention(self, op: Op) -> Labels | None:
        """Scaled dot-product attention of (batch, heads, positions, size): heads pass, the rest is rigid."""
        parts = [self._arg(op, at) for at in range(3)]
        if any(part is None or len(part) != 4 for part in parts):
            return None
        query, key, value = parts
        for part in (key, value):
            # Several query heads may share one head of keys and values: they stay or go together.
            shared = len(query[1]) // len(part[1])  # type: ignore[index]
            self._unite(query[1], np.repeat(part[1], shared))  # type: ignore[index]
        for part in parts:
            self._rigid(part[0], *part[2:])  # type: ignore[index]
        return [query[0], query[1], *(np.zeros(n, dtype=np.int64) for n in self.trace.shapes[op.writes[0]][2:])]  # type: ignore[index]

    _op__scaled_dot_product_flash_attention_for_cpu = _attention
    _op__scaled_dot_product_flash_attention = _attention
    _op__scaled_dot_product_efficient_attention = _attention
    _op__scaled_dot_product_fused_attention_overrideable = _attention

    def _op_t(self, op: Op) -> Labels | None:
        labels = self._arg(op, 0)
        return labels[::-1] if labels is not None else None

    def _op_transpose(self, op: Op) -> Labels | None:
        labels = self._arg(op, 0)
        if labels is None:
            return None
        swapped = list(labels)
        a, b = op.args[1], op.args[2]
        swapped[a], swapped[b] = swapped[b], swapped[a]
        return swapped

    def _op_permute(self, op: Op) -> Labels | None:
        labels = self._arg(op, 0)
        return [labels[d] for d in op.args[1]] if labels is not None else None

    def _op_unsqueeze(self, op: Op) -> Labels | None:
        labels = self._arg(op, 0)
        if labels is None:
            return None
        at = op.args[1] % (len(labels) + 1)
        return [*labels[:at], np.zeros(1, dtype=np.int64), *labels[at:]]

    def _op_squeeze(self, op: Op) -> Labels | None:
        labels = self._arg(op, 0)
        if labels is None:
            return None
        named = op.args[1] if len(op.args) > 1 else range(len(labels))
        gone = {d % len(labels) for d in ((named,) if isinstance(named, int) else named)}
        return [x for d, x in enumerate(labels) if not (d in gone and len(x) == 1)]

    def _op_expand(self, op: Op) -> Labels | None:
        labels = self._arg(op, 0)
        out = self.trace.shapes[op.writes[0]]
        if labels is None:
            return None
        padded = [None] * (len(out) - len(labels)) + list(labels)
        return [
            x if x is not None and len(x) == n else np.zeros(n, dtype=np.int64)
            for x, n in zip(padded, out, strict=True)
        ]

    def _op_cat(self, op: Op) -> Labels | None:
        parts = [self._read(p) for p in op.reads if len(self.trace.shapes[p]) > 1 or len(op.reads) == 1]
        if len(parts) != len(op.reads) or not parts:
            return None
        at = (op.args[1] if len(op.args) > 1 else op.kwargs.get("dim", 0)) % len(parts[0])
        for part in parts[1:]:
            for d, (a, b) in enumerate(zip(parts[0], part, strict=True)):
                if d != at:
                    self._unite(a, b)
        return [np.concatenate([p[d] for p in parts]) if d == at else x for d, x in enumerate(parts[0])]

    def _pieces(self, op: Op, sizes: Sequence[int], at: int) -> None:
        labels = self._read(op.args[0].position)
        start = 0
        for position, size in zip(op.writes, sizes, strict=True):
            piece = [x[start : start + size] if d == at % len(labels) else x for d, x in enumerate(labels)]
            self._write(position, piece)
            start += size

    def _op_split(self, op: Op) -> Labels | None:
        at = op.args[2] if len(op.args) > 2 else 0
        sizes = [self.trace.shapes[p][at] for p in op.writes]
        self._pieces(op, sizes, at)
        return self._labels[op.writes[0]]

    _op_split_with_sizes = _op_split

    def _op_slice(self, op: Op) -> Labels | None:
        labels = self._arg(op, 0)
        if labels is None:
            return None
        given = list(op.args[1:])
        at, start, stop, step = given + [0, None, None, 1][len(given) :]
        return [x[slice(start, stop, step)] if d == at % len(labels) else x for d, x in enumerate(labels)]

    def _op_select(self, op: Op) -> Labels | None:
        labels = self._arg(op, 0)
        if labels is None:
            return None
        at = op.args[1] % len(labels)
        self._rigid(labels[at])
        return [x for d, x in enumerate(labels) if d != at]

    def _op_constant_pad_nd(self, op: Op) -> Labels | None:
        labels = self._arg(op, 0)
        if labels is None:
            return None
        result = list(labels)
        pads = op.args[1]
        for i in range(len(pads) // 2):
            before, after = pads[2 * i], pads[2 * i + 1]
            own = result[-1 - i]
            own = own[max(0, -before) : len(own) + min(0, after)]
            zeros = np.zeros(max(0, before), dtype=np.int64), np.zeros(max(0, after), dtype=np.int64)
            result[-1 - i] = np.concatenate([zeros[0], own, zeros[1]])
        return result

    def _op_embedding(self, op: Op) -> Labels | None:
        weight = self._arg(op, 0)
        if weight is None:
            return None
        self._rigid(weight[0])
        shape = self._shape(op, 1)
        return [*(np.zeros(n, dtype=np.int64) for n in shape), weight[1]]

    def _op_view(self, op: Op) -> Labels | None:
        labels = self._arg(op, 0)
        if labels is None:
            return None
        return self._reshaped(labels, self.trace.shapes[op.writes[0]])

    _op__unsafe_view = _op_view
    _op_reshape = _op_view
    _op__reshape_alias = _op_view

    def _reshaped(self, labels: Labels, out: tuple[int, ...]) -> Labels | None:
        """Labels after a reshape: runs of dimensions with the same number of elements are matched."""
        result: Labels = []
        i = j = 0
        while i < len(labels) or j < len(out):
            k, m = i + 1, j + 1
            while (a := prod(len(x) for x in labels[i:k])) != (b := prod(out[j:m])):
                if a < b and k < len(labels):
                    k += 1
                elif b < a and m < len(out):
                    m += 1
                else:
                    return None
            if k > len(labels) and m > len(out):
                return None
            result += self._split(self._merged(labels[i:k]), out[j:m])
            i, j = k, m
        return result

    def _merged(self, labels: Labels) -> np.ndarray:
        """Labels of dimensions laid out as one, the last running fastest."""
        merged = labels[0] if labels else np.zeros(1, dtype=np.int64)
        for inner in labels[1:]:
            if len(inner) == 1:
                continue
            if len(merged) == 1:
                merged = inner
            elif self._is_rigid(inner):
                merged = np.repeat(merged, len(inner))
            elif self._is_rigid(merged):
                merged = np.tile(inner, len(merged))
            else:  # two sizes in one: the outer may shrink, in steps of the whole inner
                self._rigid(inner)
                merged = np.repeat(merged, len(inner))
        return merged

    def _split(self, labels: np.ndarray, out: tuple[int, ...]) -> Labels:
        """Labels of one dimension laid out as several (or none, for a dimension of size 1)."""
        if len(out) <= 1:
            return [labels][: len(out)]
        outer, rest = out[0], int(prod(out[1:]))
        table = np.array([self._find(x) for x in labels.tolist()], dtype=np.int64).reshape(outer, rest)
        if outer == 1:
            return [np.zeros(1, dtype=np.int64), *self._split(labels, out[1:])]
        if rest == 1:
            return [labels, *(np.zeros(1, dtype=np.int64) for _ in out[1:])]
        if np.all(table == table[:1]) and not np.all(table == table[:1, :1]):
            # the same for every outer index: the outer dimension is a repetition
            return [np.zeros(outer, dtype=np.int64), *self._split(table[0], out[1:])]
        for row in table:  # blocks (heads, groups) stay or go whole
            self._unite(row, np.full(rest, row[0]))
        first = table[:, 0].copy()
        return [first, *(np.zeros(n, dtype=np.int64) for n in out[1:])]

    def _is_rigid(self, labels: np.ndarray) -> bool:
        return all(self._find(x) == RIGID for x in labels.tolist())
