"""ONNX files of several precisions: which operators stay in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from ..nets.precisions.registry import FLOAT32
from ..nets.rounding import roundings
from .layers import precisions_in

AXES = {"Conv": 0, "ConvTranspose": 1, "MatMul": -1, "Gemm": 1}
"""Operators that multiply with weights, and which dimension of these is the output channels."""


def left_in_float32(path: Path, network: nn.Module) -> list[str] | None:
    """The names of the operators of an ONNX file that are not quantised; those without a name get one, in the file.

    A product stays in float32 where its layer does. What has no weights follows what it is given: where no operator
    before it is quantised, it is not either.

    Args:
        path: the path of the file, in the form in which it is quantised.
        network: that it was written of; where it holds no layer of several precisions, nothing is left.

    Returns None where every layer is in float32.
    """
    import onnx

    if not roundings(network):
        return []
    model = onnx.load(path)
    products = _products(model.graph)
    precisions = precisions_in(network, products)
    if FLOAT32 not in precisions.values():
        return []
    if {*precisions.values()} == {FLOAT32}:
        return None
    quantised: set[str] = set()  # tensors
    left = []
    for node in model.graph.node:
        own = precisions.get(node.name)
        if own == FLOAT32 or (own is None and quantised.isdisjoint(node.input)):
            left.append(node.name)
        else:
            quantised.update(node.output)
    onnx.save(model, path)
    return left


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
