"""Operators that compute: what their arguments and results have in common."""

from __future__ import annotations

import numpy as np

from ..trace import Op
from .base import MIXES, PLACES, propagates
from .labels import Rows, TensorLabels

ELEMENTWISE = frozenset(
    """add sub mul div rsub maximum minimum pow where eq ne lt le gt ge bitwise_and bitwise_or logical_and logical_or
    masked_fill copy lerp addcmul addcdiv atan2 fmod remainder _prelu_kernel gelu silu hardswish hardsigmoid
    hardtanh relu sigmoid tanh clone detach alias _to_copy contiguous lift_fresh dropout native_dropout exp log sqrt
    rsqrt neg abs erf mish elu leaky_relu softplus clamp clamp_min clamp_max hypot threshold log1p expm1 tan
    softshrink logsigmoid log_sigmoid_forward relu6 celu selu sgn nan_to_num _softmax _log_softmax cumsum
    logical_not bitwise_not reciprocal sin cos square floor ceil round sign isnan fill zero zeros_like ones_like
    full_like empty_like rand_like randn_like bernoulli normal uniform exponential to positive tril triu
    _safe_softmax""".split()  # noqa: SIM905
)
"""Results have the shape of their arguments (broadcast), index by index."""

CONSTANTS = frozenset(
    "zeros ones full empty new_zeros new_ones new_full new_empty new_empty_strided empty_strided".split()  # noqa: SIM905
)
"""Results are the same at every index, and of whatever size the network asks for."""

REDUCTIONS = frozenset("mean sum amax amin std var prod any all argmax argmin logsumexp nansum".split())  # noqa: SIM905
POOLS = frozenset(
    """max_pool2d_with_indices avg_pool2d _adaptive_avg_pool2d adaptive_avg_pool2d adaptive_max_pool2d avg_pool1d
    _adaptive_avg_pool3d adaptive_avg_pool1d max_pool3d_with_indices avg_pool3d upsample_nearest2d upsample_bilinear2d
    upsample_nearest1d _upsample_nearest_exact2d upsample_bicubic2d max_pool1d adaptive_max_pool1d reflection_pad2d
    replication_pad2d reflection_pad1d""".split()  # noqa: SIM905
)
"""Batch and channels pass; positions are rigid."""


@propagates(*CONSTANTS)
def _constant(tensors: TensorLabels, op: Op) -> Rows | None:
    return [tensors.labels.new(n) for n in tensors.trace.shapes[op.writes[0]]]


@propagates(*ELEMENTWISE)
def _elementwise(tensors: TensorLabels, op: Op) -> Rows | None:
    return tensors.broadcast(op.reads, tensors.trace.shapes[op.writes[0]])


@propagates(*REDUCTIONS, because=PLACES)
def _reduction(tensors: TensorLabels, op: Op) -> Rows | None:
    labels = tensors.argument(op, 0)
    out = tensors.trace.shapes[op.writes[0]]
    if labels is None or not out:
        if labels is not None and op.name.startswith("arg"):
            tensors.labels.rigid(*labels)
        return []
    named = next((a for a in op.args[1:] if isinstance(a, tuple | int) and not isinstance(a, bool)), None)
    dims = op.kwargs.get("dim", named)
    if dims is None:
        return [] if not out else None
    gone = {d % len(labels) for d in ((dims,) if isinstance(dims, int) else dims)}
    if op.name.startswith("arg"):  # an index has a meaning
        tensors.labels.rigid(*(labels[d] for d in gone))
    if len(out) == len(labels):
        return [tensors.labels.fixed(1) if d in gone else x for d, x in enumerate(labels)]
    return [x for d, x in enumerate(labels) if d not in gone]


@propagates(*POOLS, because=MIXES)
def _pool(tensors: TensorLabels, op: Op) -> Rows | None:
    labels = tensors.argument(op, 0)
    out = tensors.trace.shapes[op.writes[0]]
    if labels is None or len(out) != len(labels) or len(out) < 3:
        return None
    tensors.labels.rigid(*labels[2:])
    result = [labels[0], labels[1], *(tensors.labels.fixed(n) for n in out[2:])]
    for position in op.writes[1:]:  # where the largest are
        tensors.write(position, list(result))
    return result


@propagates("convolution", because=MIXES)
def convolution(tensors: TensorLabels, op: Op) -> Rows | None:
    data, weight, bias = tensors.argument(op, 0), tensors.argument(op, 1), tensors.argument(op, 2)
    if data is None or weight is None:
        return None
    groups, transposed = op.args[8], op.args[6]
    made, read = (weight[1], weight[0]) if transposed else (weight[0], weight[1])
    tensors.labels.rigid(*weight[2:], *data[2:])
    into = data[1]
    if groups == 1:
        tensors.labels.unite(into, read)
    else:
        per_in = len(into) // groups
        first = into[::per_in]  # a group stays or goes whole
        tensors.labels.unite(into, np.repeat(first, per_in))
        if transposed:  # the weight is (inputs, outputs of a group)
            tensors.labels.unite(into, read)
            tensors.labels.rigid(made)
            made = np.repeat(first, len(made))
        else:
            tensors.labels.rigid(read)
            tensors.labels.unite(made, np.repeat(first, len(made) // groups))
    if bias is not None:
        tensors.labels.unite(bias[0], made)
    return [data[0], made, *(tensors.labels.fixed(n) for n in tensors.trace.shapes[op.writes[0]][2:])]


def _product(tensors: TensorLabels, left: Rows | None, right: Rows | None) -> Rows | None:
    if left is None or right is None:
        return None
    tensors.labels.unite(left[-1], right[-2])
    for a, b in zip(left[:-2], right[:-2], strict=True):
        tensors.labels.unite(a, b)
    return [*left[:-1], right[-1]]


@propagates("mm", "bmm")
def mm(tensors: TensorLabels, op: Op) -> Rows | None:
    return _product(tensors, tensors.argument(op, 0), tensors.argument(op, 1))


@propagates("addmm", "baddbmm")
def addmm(tensors: TensorLabels, op: Op) -> Rows | None:
    result = _product(tensors, tensors.argument(op, 1), tensors.argument(op, 2))
    addend = tensors.argument(op, 0)
    if result is not None and addend is not None and len(addend[-1]) == len(result[-1]):
        tensors.labels.unite(addend[-1], result[-1])
    return result


@propagates("native_batch_norm", "_native_batch_norm_legit_no_training", "_native_batch_norm_legit", "cudnn_batch_norm")
def native_batch_norm(tensors: TensorLabels, op: Op) -> Rows | None:
    labels = tensors.argument(op, 0)
    if labels is None:
        return None
    for at in range(1, 5):
        own = tensors.argument(op, at)
        if own is not None:
            tensors.labels.unite(own[0], labels[1])
    return labels


@propagates("native_layer_norm")
def native_layer_norm(tensors: TensorLabels, op: Op) -> Rows | None:
    labels = tensors.argument(op, 0)
    for at in (2, 3):
        own = tensors.argument(op, at)
        if own is not None and labels is not None:
            for a, b in zip(own, labels[-len(own) :], strict=True):
                tensors.labels.unite(a, b)
    return labels


@propagates("native_group_norm", because=MIXES)
def native_group_norm(tensors: TensorLabels, op: Op) -> Rows | None:
    labels = tensors.argument(op, 0)
    if labels is None:
        return None
    groups = op.args[6]
    per_group = len(labels[1]) // groups
    if groups > 1:  # statistics are of a group: it stays or goes whole
        tensors.labels.unite(labels[1], np.repeat(labels[1][::per_group], per_group))
    for at in (1, 2):
        own = tensors.argument(op, at)
        if own is not None:
            tensors.labels.unite(own[0], labels[1])
    tensors.labels.rigid(*labels[2:])
    return labels


@propagates(
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_fused_attention_overrideable",
    because=MIXES,
)
def _attention(tensors: TensorLabels, op: Op) -> Rows | None:
    """Scaled dot-product attention of (batch, heads, positions, size): heads pass, the rest is rigid."""
    parts = [tensors.argument(op, at) for at in range(3)]
    if any(part is None or len(part) != 4 for part in parts):
        return None
    query, key, value = parts
    for part in (key, value):
        # Several query heads may share one head of keys and values: they stay or go together.
        shared = len(query[1]) // len(part[1])  # type: ignore[index]
        tensors.labels.unite(query[1], np.repeat(part[1], shared))  # type: ignore[index]
    for part in parts:
        tensors.labels.rigid(part[0], *part[2:])  # type: ignore[index]
    return [query[0], query[1], *(tensors.labels.fixed(n) for n in tensors.trace.shapes[op.writes[0]][2:])]  # type: ignore[index]


@propagates("glu")
def glu(tensors: TensorLabels, op: Op) -> Rows | None:
    labels = tensors.argument(op, 0)
    if labels is None:
        return None
    at = (op.args[1] if len(op.args) > 1 else -1) % len(labels)
    half = len(labels[at]) // 2
    tensors.labels.unite(labels[at][:half], labels[at][half:])
    return [x[:half] if d == at else x for d, x in enumerate(labels)]


@propagates("max", "min", because=PLACES)
def _extreme(tensors: TensorLabels, op: Op) -> Rows | None:
    """max and min: of all, of a dimension with its indices, or of two tensors."""
    if len(op.reads) > 1:
        return _elementwise(tensors, op)
    labels = tensors.argument(op, 0)
    if len(op.writes) > 1 and labels and tensors.is_used(op.writes[1]):  # an index has a meaning
        tensors.labels.rigid(labels[op.args[1] % len(labels)])
    result = _reduction(tensors, op)
    for position in op.writes[1:]:
        if result is not None:
            tensors.write(position, list(result))
    return result


@propagates("linalg_vector_norm")
def linalg_vector_norm(tensors: TensorLabels, op: Op) -> Rows | None:
    labels = tensors.argument(op, 0)
    out = tensors.trace.shapes[op.writes[0]]
    dims = op.args[2] if len(op.args) > 2 else op.kwargs.get("dim")
    if labels is None or not dims:
        return [tensors.labels.fixed(n) for n in out]
    gone = {d % len(labels) for d in dims}
    if len(out) == len(labels):
        return [tensors.labels.fixed(1) if d in gone else x for d, x in enumerate(labels)]
    return [x for d, x in enumerate(labels) if d not in gone]


@propagates("_weight_norm_interface")
def weight_norm_interface(tensors: TensorLabels, op: Op) -> Rows | None:
    direction, size = tensors.argument(op, 0), tensors.argument(op, 1)
    if direction is None or size is None:
        return None
    at = op.args[2] if len(op.args) > 2 else 0
    tensors.labels.unite(direction[at], size[at])
    return direction


@propagates("_embedding_bag", because=PLACES)
def embedding_bag(tensors: TensorLabels, op: Op) -> Rows | None:
    weight = tensors.argument(op, 0)
    if weight is None:
        return None
    tensors.labels.rigid(weight[0])
    return [tensors.labels.fixed(tensors.trace.shapes[op.writes[0]][0]), weight[1]]


@propagates("mv")
def mv(tensors: TensorLabels, op: Op) -> Rows | None:
    left, right = tensors.argument(op, 0), tensors.argument(op, 1)
    if left is None or right is None:
        return None
    tensors.labels.unite(left[1], right[0])
    return left[:1]


@propagates("embedding", because=PLACES)
def embedding(tensors: TensorLabels, op: Op) -> Rows | None:
    weight = tensors.argument(op, 0)
    if weight is None:
        return None
    tensors.labels.rigid(weight[0])
    return [*(tensors.argument(op, 1) or []), weight[1]]


@propagates("_fft_r2c", "_fft_c2c", "_fft_c2r", because=MIXES)
def fft(tensors: TensorLabels, op: Op) -> Rows | None:
    labels = tensors.argument(op, 0)
    if labels is None:
        return None
    mixed = {d % len(labels) for d in op.args[1]}
    for d in mixed:
        tensors.labels.rigid(labels[d])
    out = tensors.trace.shapes[op.writes[0]]
    return [tensors.labels.fixed(n) if d in mixed else labels[d] for d, n in enumerate(out)]


@propagates("_trilinear")
def trilinear(tensors: TensorLabels, op: Op) -> Rows | None:
    """Three tensors are given further dimensions, multiplied, and summed over some (nn.Bilinear)."""
    result: list[np.ndarray | None] = []
    for at in range(3):
        labels = tensors.argument(op, at)
        if labels is None:
            return None
        own: list[np.ndarray | None] = list(labels)
        for d in op.args[3 + at]:
            own.insert(d, None)
        result = result or [None] * len(own)
        for d, x in enumerate(own):
            known = result[d]
            if known is None:
                result[d] = x
            elif x is not None and len(x) == len(known):
                tensors.labels.unite(known, x)
    gone = op.args[6]
    return [x if x is not None else tensors.labels.fixed(1) for d, x in enumerate(result) if d not in gone]


@propagates("_grouped_mm", because=PLACES)
def grouped_mm(tensors: TensorLabels, op: Op) -> Rows | None:
    """Rows sorted by expert, each times its expert's matrix: (rows, inputs) and (experts, inputs, outputs)."""
    left, right = tensors.argument(op, 0), tensors.argument(op, 1)
    if left is None or right is None or (len(left), len(right)) != (2, 3):
        return None
    tensors.labels.rigid(left[0], right[0])
    tensors.labels.unite(left[1], right[1])
    return [left[0], right[2]]
