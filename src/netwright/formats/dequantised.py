"""The float32 network that an 8-bit ONNX file was made of, as far as the file still holds it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from ..core.errors import MeasureError
from .onnx_layers import constants_of

WHOLE = (
    "MatMulInteger",
    "ConvInteger",
    "DynamicQuantizeLinear",
    "QLinearConv",
    "QLinearMatMul",
    "QGemm",
    "MatMulNBits",
)
"""Operators that compute with the numbers themselves: nothing in them can be left out."""
NOT_NEGATIVE = ("Relu", "Clip", "Sigmoid", "Softmax", "HardSigmoid")
PASSES = ("MaxPool", "AveragePool", "GlobalAveragePool", "Reshape", "Flatten", "Transpose", "Concat", "Squeeze")
"""Operators that give no negative numbers where they are given none."""


def dequantise(model: Any) -> None:
    """Take all that quantises out of a model, in place.

    Weights become the float32 numbers that theirs stand for: what they lost to rounding stays lost. A range that begins
    at 0 may stand for a Relu, and becomes one where there is none before it.

    Raises :class:`MeasureError` where operators compute with 8-bit numbers, or there are none of either kind.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    kinds = Counter(node.op_type for node in graph.node)
    if found := [kind for kind in WHOLE if kinds[kind]]:
        raise MeasureError(
            f"the file computes with whole numbers ({', '.join(found)}), from which no float32 twin can be made; give "
            "the file that it was quantised from with --against"
        )
    if not kinds["DequantizeLinear"]:
        raise MeasureError("the file is not quantised: it has no QuantizeLinear and no DequantizeLinear")
    constants = {name: numpy_helper.to_array(each) for name, each in constants_of(graph).items()}
    makers = {name: node for node in graph.node for name in node.output}
    backs = {node.input[0]: node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    renamed: dict[str, str] = {}
    nodes = []
    for node in list(graph.node):
        kept = [renamed.get(name, name) for name in node.input]
        if node.op_type == "DequantizeLinear" and node.input[0] in constants:
            name = _name(node, {*constants, *renamed.values()})
            graph.initializer.append(numpy_helper.from_array(dequantised(node, constants), name))
            renamed[node.output[0]] = name
        elif node.op_type == "QuantizeLinear" and not is_relu(node, constants, makers):
            renamed[node.output[0]] = kept[0]
        elif node.op_type == "QuantizeLinear":
            renamed[node.output[0]] = backs.get(node.output[0], node.output[0])
            nodes.append(helper.make_node("Relu", kept[:1], [renamed[node.output[0]]], name=f"{node.name}_as_Relu"))
        elif node.op_type == "DequantizeLinear":
            renamed[node.output[0]] = kept[0]
        else:
            del node.input[:]
            node.input.extend(kept)
            nodes.append(node)
    outputs = [each.name for each in graph.output if renamed.get(each.name, each.name) != each.name]
    nodes += [helper.make_node("Identity", [renamed[name]], [name], name=f"{name}_as_output") for name in outputs]
    del graph.node[:]
    graph.node.extend(nodes)
    remove_unread_constants(graph)


def remove_unread_constants(graph: Any) -> None:
    """Take away the constants that nothing reads, and what is said of shapes, which held before."""
    used = {name for node in graph.node for name in node.input} | {each.name for each in graph.output}
    for each in [each for each in graph.initializer if each.name not in used]:
        graph.initializer.remove(each)
    del graph.value_info[:]


def dequantised(node: Any, constants: Mapping[str, np.ndarray]) -> np.ndarray:
    """The numbers that a DequantizeLinear of a constant gives."""
    values, scales = (constants[name].astype(np.float32) for name in node.input[:2])
    zero = constants[node.input[2]].astype(np.float32) if len(node.input) > 2 else np.zeros((), np.float32)
    settings = {each.name: each.i for each in node.attribute}
    axis, block = settings.get("axis", 1) % max(values.ndim, 1), settings.get("block_size", 0)
    if scales.ndim and scales.size > 1:
        if block:
            scales, zero = (np.repeat(v, block, axis)[_cut(values, axis)] if v.ndim else v for v in (scales, zero))
        else:
            shape = [1] * values.ndim
            shape[axis] = -1
            scales, zero = scales.reshape(shape), (zero.reshape(shape) if zero.ndim else zero)
    return np.asarray((values - zero) * scales, np.float32).reshape(values.shape)


def _name(node: Any, taken: Collection[str]) -> str:
    """That which the weights had before they were quantised, where it tells."""
    name = str(node.input[0]).removesuffix("_quantized")
    return name if name not in taken else f"{node.output[0]}_float"


def _cut(values: np.ndarray, axis: int) -> tuple[slice, ...]:
    return (*[slice(None)] * axis, slice(values.shape[axis]))


def rectifies(node: Any, constants: Mapping[str, np.ndarray]) -> bool:
    """Whether the range of a QuantizeLinear begins at 0, so that negative numbers become 0."""
    zero = constants.get(node.input[2]) if len(node.input) > 2 else np.zeros((), np.uint8)
    return zero is not None and bool(np.all(zero == np.iinfo(zero.dtype).min))


def is_relu(node: Any, constants: Mapping[str, np.ndarray], makers: Mapping[str, Any]) -> bool:
    """Whether a QuantizeLinear also does what a Relu would."""
    if not rectifies(node, constants):
        return False
    maker = makers.get(node.input[0])
    while maker is not None and maker.op_type in PASSES:
        maker = makers.get(maker.input[0])
    if maker is None or maker.op_type in NOT_NEGATIVE:
        return False
    if maker.op_type == "DequantizeLinear" and (given := makers.get(maker.input[0])) is not None:
        return not (given.op_type == "QuantizeLinear" and rectifies(given, constants))
    return True
