"""ONNX files of several precisions: which operators stay in float32."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from ..core.errors import BundleError
from ..nets.rounding import roundings
from .layers import left_in_float32, precisions_in

AS_MATMUL = "_MatMul"
"""What ONNX Runtime's quantiser calls the product of a Gemm, after its name."""
AXES = {"Conv": 0, "ConvTranspose": 1, "MatMul": -1, "Gemm": 1}
"""Operators that multiply with weights, and which dimension of these is the output channels."""


def left_in_float32_of(path: Path, network: nn.Module) -> list[str] | None:
    """The names of the operators of an ONNX file that are not quantised (none where the network has no layers of
    precisions of their own); None where none is. Operators without a name get one, in the file."""
    import onnx

    if not roundings(network):
        return []
    model = onnx.load(path)
    precisions = precisions_in(network, _products(model.graph))
    onnx.save(model, path)
    return left_in_float32(((node.name, node.input, node.output) for node in model.graph.node), precisions)


def check_quantised(ready: Path, done: Any, left: Collection[str]) -> None:
    """Raise :class:`BundleError` where the quantiser did something else than was asked for.

    Args:
        ready: the path of the file before.
        done: the ONNX model after.
        left: the operators that stay in float32.
    """
    import onnx

    rounded = {name for node in done.graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    found = {node.name for node in done.graph.node if len(node.input) > 1 and node.input[1] in rounded}
    integer = (node.name for node in done.graph.node if node.op_type in ("MatMulInteger", "ConvInteger"))
    found |= {name.removesuffix("_quant").removesuffix(AS_MATMUL) for name in integer}
    products = _products(onnx.load(ready).graph)
    if missing := [name for name in products if name not in found and name not in left]:
        raise BundleError(
            f"onnxruntime has no 8-bit form of {', '.join(missing[:5])} in this network; keep their layers in float32"
        )
    if beyond := found.intersection(products, left):
        raise BundleError(f"onnxruntime quantises {', '.join(sorted(beyond)[:5])}, which should stay in float32")


def _products(graph: Any) -> dict[str, np.ndarray]:
    """The weights of each operator that multiplies with some, the output channels first."""
    from onnx import numpy_helper

    tensors = {each.name: each for each in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            tensors[node.output[0]] = node.attribute[0].t
    found = {}
    for i, node in enumerate(graph.node):
        node.name = node.name or f"{node.op_type}_of_{i}"
        if node.op_type not in AXES or len(node.input) < 2 or node.input[1] not in tensors:
            continue
        weight = numpy_helper.to_array(tensors[node.input[1]])
        if weight.ndim < 2:
            continue
        turned = node.op_type == "Gemm" and any(a.name == "transB" and a.i for a in node.attribute)
        found[node.name] = weight.swapaxes(0, 0 if turned else AXES[node.op_type])
    return found
