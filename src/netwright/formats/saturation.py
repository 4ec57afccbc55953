"""Files whose 8-bit products some CPUs compute wrongly, told without torch: measuring a file does not need it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..core.precision import SATURATES

PRODUCTS = (
    "MatMulInteger",
    "ConvInteger",
    "QLinearConv",
    "QLinearMatMul",
    "QGemm",
    "MatMul",
    "Gemm",
    "Conv",
    "ConvTranspose",
)
"""Operators that multiply with weights."""


def may_saturate(path: Path) -> bool:
    """Whether an ONNX file has products that saturate on x86 CPUs without VNNI: activations without a sign times
    weights with one that use more than 7 bits. Whoever made it; False for what is no ONNX file."""
    import onnx

    try:
        return _saturates(onnx.load(path, load_external_data=False).graph)
    except Exception:  # whoever opens it says what is wrong with it
        return False


def _saturates(graph: Any) -> bool:
    import onnx

    signed = {
        each.name
        for each in graph.initializer
        if each.data_type == onnx.TensorProto.INT8 and not each.external_data and _largest(each) > SATURATES
    }
    unsigned = {each.name for each in graph.initializer if each.data_type == onnx.TensorProto.UINT8}
    weights = signed | {n.output[0] for n in graph.node if n.op_type == "DequantizeLinear" and n.input[0] in signed}
    places = [n for n in graph.node if n.op_type == "DynamicQuantizeLinear" or set(n.input[2:]) & unsigned]
    return bool(places) and any(n.op_type in PRODUCTS and weights & set(n.input) for n in graph.node)


def _largest(tensor: Any) -> int:
    from onnx import numpy_helper

    return int(np.abs(numpy_helper.to_array(tensor).astype(np.int32)).max(initial=0))
