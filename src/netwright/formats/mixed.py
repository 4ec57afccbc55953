"""ONNX files of several precisions: which operators stay in float32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from ..core.errors import BundleError
from ..nets.precisions.int4 import GROUP
from ..nets.precisions.registry import INT4, INT8
from ..nets.rounding import roundings
from .layers import channels_first, left_in_float32, precisions_in
from .onnx_layers import constants_of, name_nodes

AS_MATMUL = "_MatMul"
"""What ONNX Runtime's quantiser calls the product of a Gemm, after its name."""
AXES = {"Conv": 0, "ConvTranspose": 1, "MatMul": -1, "Gemm": 1}
"""Operators that multiply with weights, and which dimension of these is the output channels."""


@dataclass(frozen=True)
class Plan:
    """What becomes of the operators of an ONNX file.

    Args:
        left: those that are not in 8 bits; None: none is.
        few: products of weights in 4 bits.
        products: all products with weights, where layers have precisions of their own.
    """

    left: list[str] | None
    few: Sequence[str] = ()
    products: Sequence[str] = ()


def plan_of(path: Path, network: nn.Module | None) -> Plan:
    """The plan of a file as the network's layers have precisions; all is in 8 bits where they have none of their own.
    Operators without a name get one, in the file."""
    import onnx

    model = onnx.load(path)
    if name_nodes(model.graph):
        onnx.save(model, path)
    formless = _without_form(model.graph)
    if network is None or not roundings(network):
        return Plan(formless)
    precisions = precisions_in(network, _products(model.graph))
    if INT8 in precisions.values() and (those := [name for name in formless if precisions[name] == INT8]):
        raise _no_8_bits(those)
    wired = ((node.name, node.input, node.output) for node in model.graph.node)
    few = [name for name, precision in precisions.items() if precision == INT4]
    return Plan(left_in_float32(wired, precisions), few, list(precisions))


def _without_form(graph: Any) -> list[str]:
    """Products that ONNX Runtime's quantiser fails on: transposed convolutions of groups with a bias, for which it has
    fewer scales than outputs."""
    return [
        node.name
        for node in graph.node
        if node.op_type == "ConvTranspose"
        and len(node.input) > 2
        and any(each.name == "group" and each.i > 1 for each in node.attribute)
    ]


def _no_8_bits(names: Sequence[str]) -> BundleError:
    return BundleError(
        f"onnxruntime has no 8-bit form of {', '.join(names[:5])} in this network; keep their layers in float32"
    )


def to_4_bits(path: Path, names: Sequence[str]) -> None:
    """Give products of an ONNX file weights of 4 bits, in place, that are rounded to them already. Raises
    :class:`BundleError` for one that has no such form."""
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    model = onnx.load(path)
    for name in names:
        _as_product(model.graph, name)
    others = [node.name for node in model.graph.node if node.name.removesuffix(AS_MATMUL) not in names]
    quantiser = MatMulNBitsQuantizer(model, bits=4, block_size=GROUP, is_symmetric=True, nodes_to_exclude=others)
    quantiser.process()
    onnx.save(quantiser.model.model, path)


def _as_product(graph: Any, name: str) -> None:
    """Make a plain product, with a name of its own, of an operator that multiplies with a weight and adds a bias."""
    from onnx import helper, numpy_helper

    if any(node.name == f"{name}{AS_MATMUL}" for node in graph.node):
        return  # the quantiser of 8 bits has done so
    at, node = next((i, node) for i, node in enumerate(graph.node) if node.name == name)
    settings = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    plain = settings.get("alpha", 1.0) == settings.get("beta", 1.0) == 1.0 and not settings.get("transA", 0)
    if node.op_type not in ("MatMul", "Gemm") or not plain:
        raise BundleError(
            f"onnxruntime has no 4-bit form of {name}, a {node.op_type}: only linear layers have one; keep it in "
            "float32 or in int8"
        )
    if node.op_type == "MatMul":
        node.name = f"{name}{AS_MATMUL}"
        return
    weight = next(each for each in graph.initializer if each.name == node.input[1])
    values = numpy_helper.to_array(weight)
    turned = numpy_helper.from_array(np.ascontiguousarray(values.T if settings.get("transB") else values), f"{name}_B")
    graph.initializer.append(turned)
    result, product = node.output[0], f"{name}_product"
    bias = list(node.input[2:])
    made = [
        helper.make_node("MatMul", [node.input[0], turned.name], [product if bias else result], f"{name}{AS_MATMUL}")
    ]
    made += [helper.make_node("Add", [product, bias[0]], [result], f"{name}_Add")] if bias else []
    graph.node.remove(node)
    for step, other in enumerate(made):
        graph.node.insert(at + step, other)
    if not any(weight.name in other.input for other in graph.node):
        graph.initializer.remove(weight)


def check_quantised(model: Any, plan: Plan) -> None:
    """Raise :class:`BundleError` where the quantiser made something else of a model than was planned."""
    left = plan.left or ()
    rounded = {name for node in model.graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    found = {node.name for node in model.graph.node if len(node.input) > 1 and node.input[1] in rounded}
    integer = (node.name for node in model.graph.node if node.op_type in ("MatMulInteger", "ConvInteger"))
    found |= {name.removesuffix("_quant").removesuffix(AS_MATMUL) for name in integer}
    if missing := [name for name in plan.products if name not in found and name not in left]:
        raise _no_8_bits(missing)
    if beyond := found.intersection(plan.products, left):
        raise BundleError(f"onnxruntime quantises {', '.join(sorted(beyond)[:5])}, which should stay in float32")


def _products(graph: Any) -> dict[str, np.ndarray]:
    """The weights of each operator that multiplies with some, the output channels first."""
    from onnx import numpy_helper

    tensors = constants_of(graph)
    found = {}
    for node in graph.node:
        if node.op_type not in AXES or len(node.input) < 2 or node.input[1] not in tensors:
            continue
        weight = numpy_helper.to_array(tensors[node.input[1]])
        if weight.ndim < 2:
            continue
        settings = {each.name: each.i for each in node.attribute}
        if node.op_type == "ConvTranspose":
            found[node.name] = channels_first(weight, settings.get("group", 1))
        else:
            found[node.name] = weight.swapaxes(0, 0 if settings.get("transB") else AXES[node.op_type])
    return found
