"""Sums of 8-bit products that exceed 16 bits on x86 CPUs without VNNI, counted by arithmetic on whatever CPU this is.

There ``vpmaddubsw`` multiplies numbers without a sign by numbers with one, adds two products in a row, and cuts the sum
off at 16 bits (Intel 64 and IA-32 Architectures Software Developer's Manual, PMADDUBSW).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...core.precision import SATURATES
from ...formats.onnx_layers import WEIGHTS_AT, OnnxLayer
from ..runtimes.base import Feeds
from .onnx_graph import OnnxGraph, results_of

MOST_PRODUCTS = 2 * 10**7
"""Products of one layer that are looked at; where there are more, positions are drawn."""


def saturated(graph: OnnxGraph, examples: Sequence[Feeds]) -> dict[str, float]:
    """The share of each layer's sums in which two products in a row exceed 16 bits, by its path.

    Layers without such sums are left out: other types of numbers, weights of 7 bits, convolutions of groups, which
    ONNX Runtime computes another way, and transposed ones, which it has in float32 alone.
    """
    wanted = {}
    for layer in graph.layers:
        weights, name = graph.constants.get(layer.weights), _read(graph, layer)
        if weights is None or weights.dtype != np.int8 or name is None:
            continue
        if np.abs(weights.astype(np.int32)).max(initial=0) > SATURATES:
            wanted[layer.path] = (layer, weights, name)
    if not wanted:
        return {}
    session = graph.session([name for _, _, name in wanted.values()])
    shares: dict[str, list[float]] = {path: [] for path in wanted}
    for feeds in examples:
        values = results_of(session, feeds)
        for path, (layer, weights, name) in wanted.items():
            if values[name].dtype == np.uint8:
                shares[path].append(_share(graph.nodes[layer.node], weights, values[name], _zero(graph, name)))
    return {path: float(np.mean(each)) for path, each in shares.items() if each}


def _read(graph: OnnxGraph, layer: OnnxLayer) -> str | None:
    """The name of the whole numbers that a layer reads; None where it reads none, or not as pairs of products."""
    node = graph.nodes[layer.node]
    if layer.kind.startswith(("depthwise", "grouped")) or node.op_type == "ConvTranspose":
        return None
    weights = node.input[WEIGHTS_AT.get(node.op_type, 1)]
    back = graph.tensors.makers.get(weights)
    if (back.input[0] if back is not None and back.op_type == "DequantizeLinear" else weights) != layer.weights:
        return None  # another operator turns them
    found = graph.quantiser(node.input[0])
    if found is None and node.op_type == "MatMulInteger":
        found = graph.tensors.makers.get(node.input[0])
    return str(found.output[0]) if found is not None else None


def _zero(graph: OnnxGraph, name: str) -> int:
    """The whole number that stands for 0 in a result; 0 where that is found for each input."""
    quantiser = graph.tensors.makers[name]
    return int(graph.constants[quantiser.input[2]].item()) if len(quantiser.input) > 2 else 0


def _share(node: Any, weights: np.ndarray, values: np.ndarray, zero: int) -> float:
    """Of sums of an operator, those in which two products in a row exceed 16 bits."""
    if node.op_type.startswith("Conv"):
        rows, columns = _rows(node, weights.shape[2:], values, zero), weights.reshape(*weights.shape[:2], -1)
        columns = columns.transpose(0, 2, 1).reshape(len(weights), -1)  # channels last, as the kernel has them
    else:
        turned = any(each.name == "transB" and each.i for each in node.attribute)
        rows, columns = values.reshape(-1, values.shape[-1]), weights if turned else weights.T
    odd = rows.shape[1] % 2
    rows, columns = (np.pad(each, ((0, 0), (0, odd))).astype(np.int32) for each in (rows, columns))
    most = max(1, MOST_PRODUCTS // columns.size)
    if len(rows) > most:
        rows = rows[np.random.default_rng(0).choice(len(rows), most, replace=False)]
    products = [np.einsum("rk,ck->rck", rows[:, i::2], columns[:, i::2], optimize=False) for i in (0, 1)]
    pairs = products[0] + products[1]
    limits = np.iinfo(np.int16)
    return float(((pairs > limits.max) | (pairs < limits.min)).any(2).mean())


def _rows(node: Any, size: Sequence[int], values: np.ndarray, zero: int) -> np.ndarray:
    """What a convolution multiplies at each position of its result, channels last."""
    settings = {each.name: list(each.ints) for each in node.attribute}
    dims = len(size)
    pads = settings.get("pads", [0] * 2 * dims)
    strides, spread = settings.get("strides", [1] * dims), settings.get("dilations", [1] * dims)
    padded = np.pad(values, [(0, 0), (0, 0), *zip(pads[:dims], pads[dims:], strict=True)], constant_values=zero)
    reach = [(n - 1) * d + 1 for n, d in zip(size, spread, strict=True)]
    windows = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=tuple(range(2, 2 + dims)))
    steps = (*(slice(None, None, s) for s in strides), *(slice(None, None, d) for d in spread))
    windows = windows[(slice(None), slice(None), *steps)]
    order = (0, *range(2, 2 + 2 * dims), 1)
    return np.ascontiguousarray(windows.transpose(order)).reshape(-1, int(np.prod(size)) * values.shape[1])
