"""What operators cost: their multiply-accumulates as products of sizes, and the tensors that they move."""

from __future__ import annotations

from ..trace import RESHAPED_IN_PLACE, Op

CONVOLUTION = frozenset({"convolution"})
PRODUCTS = frozenset({"mm", "bmm", "addmm", "baddbmm", "addbmm", "dot", "mv", "addmv"})
ATTENTION = frozenset(
    {
        "_scaled_dot_product_flash_attention_for_cpu",
        "_scaled_dot_product_flash_attention",
        "_scaled_dot_product_efficient_attention",
        "_scaled_dot_product_fused_attention_overrideable",
    }
)
UNCOUNTED_HEAVY = frozenset(
    {"mkldnn_rnn_layer", "_thnn_fused_lstm_cell", "_thnn_fused_gru_cell", "_fft_c2c", "_fft_r2c", "_fft_c2r"}
    | {"_trilinear", "_cdist_forward", "_euclidean_dist"}
)
"""Operators that compute products but have no rule here: a counter that meets one says so."""
GATHERS = frozenset({"embedding", "index_select", "gather", "index", "take"})
"""Operators that read no more of their first argument than they give."""
OVERWRITES = frozenset({"copy_", "fill_", "zero_"})
"""In-place operators that do not read what they write."""
BATCH_NORMS = frozenset({"native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm"})
"""Operators that give a batch's statistics beside their result, but not in evaluation, where these are empty."""
UNMOVED = frozenset({"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "detach_"})
"""Operators that neither read nor write any element, beside views."""


def multiplies(op: Op) -> bool:
    return op.name in PRODUCTS or any(word in op.name for word in ("_sparse", "linear", "matmul", "attention"))


def macs_terms(op: Op, shapes: list[tuple[int, ...]]) -> list[list[tuple[int, int]]]:
    """The operator's multiply-accumulates: sums of products of sizes, each named by tensor and dimension."""

    def all_of(tensor: int) -> list[tuple[int, int]]:
        return [(tensor, d) for d in range(len(shapes[tensor]))]

    if op.name in CONVOLUTION:
        data, weight = op.reads[0], op.reads[1]
        positions = data if op.args[6] else op.writes[0]  # argument 6: transposed
        return [all_of(positions) + [(weight, d) for d in range(1, len(shapes[weight]))]]
    if op.name in PRODUCTS:
        left = op.reads[-2]  # addmm and its kin read the addend first
        if op.name == "dot":
            return [all_of(left)]
        return [[*all_of(op.writes[0]), (left, len(shapes[left]) - 1)]]
    if op.name in ATTENTION:
        query, key, value = op.reads[:3]
        scores = [(query, d) for d in range(len(shapes[query]) - 1)] + [(key, len(shapes[key]) - 2)]
        return [[*scores, (query, len(shapes[query]) - 1)], [*scores, (value, len(shapes[value]) - 1)]]
    return []


def moved_tensors(op: Op, buffers: list[int]) -> tuple[int, ...]:
    """The tensors that the operator reads and writes, each as often as it does."""
    if op.name in UNMOVED or op.name in RESHAPED_IN_PLACE:
        return ()
    shared = {buffers[tensor] for tensor in op.reads}
    if not op.name.endswith("_") and "out" not in op.kwargs and all(buffers[tensor] in shared for tensor in op.writes):
        return () if op.writes else op.reads  # a view; without results, something is only read
    if op.name in GATHERS:
        return (*op.writes, *op.reads[1:], *op.writes)
    if op.name in BATCH_NORMS:
        return (*op.reads, op.writes[0])
    return (*op.reads[op.name in OVERWRITES :], *op.writes)
