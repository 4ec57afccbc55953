"""The layers of an ONNX file: which of its operators belong to which layer of the network that it was written of."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

WEIGHTED = {
    "Conv": "convolution",
    "ConvTranspose": "transposed convolution",
    "ConvInteger": "convolution",
    "QLinearConv": "convolution",
    "Gemm": "linear layer",
    "QGemm": "linear layer",
    "MatMul": "linear layer",
    "MatMulInteger": "linear layer",
    "MatMulNBits": "linear layer",
    "QLinearMatMul": "linear layer",
    "LSTM": "recurrent layer",
    "GRU": "recurrent layer",
    "RNN": "recurrent layer",
    "Attention": "attention",
}
"""Operators that make a layer, and what one of them is called; products without weights are ``matrix product``."""

CONVERSIONS = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear")
WEIGHTS_AT = {"QLinearConv": 3, "QLinearMatMul": 3, "QGemm": 3}
"""Which input of an operator its weights are; 1 for the others."""
PRODUCTS = ("MatMul", "MatMulInteger", "QLinearMatMul")
STEPS = 3
"""Operators between a product and its bias: one whose ranges are found for each input is scaled first."""
MADE = re.compile(r"^(onnx::|val_|_?v_|/)|^\d+$")
"""Names that exporters make up."""
QUANTISED = re.compile(r"(_quantized|_DequantizeLinear_Output|_dequantized|_q4|_Q4|_quant)$")


@dataclass(frozen=True)
class Layer:
    """One layer as a file has it.

    Args:
        path: of the module in the network, as far as the file's names tell, such as ``layer1.0.conv1``; else the name
            of its operator. No two layers of a file have the same.
        kind: what it is, such as ``depthwise convolution``.
        node: the name of the operator with the weights.
        bits: of the weights; 32 in float32.
        nodes: the names of all operators that belong to it: those that use its results before another layer does.
        results: the names of what these write, in order.
    """

    path: str
    kind: str
    node: str
    bits: int
    nodes: tuple[str, ...]
    results: tuple[str, ...]


@dataclass(frozen=True)
class OnnxLayer(Layer):
    """One layer as an ONNX file has it.

    Args:
        weights: the name of its weights in it; empty where there are none.
    """

    weights: str = ""


def name_nodes(graph: Any) -> bool:
    """Give each operator without a name one that no other has; returns whether there were any."""
    taken = {node.name for node in graph.node}
    nameless = [(i, node) for i, node in enumerate(graph.node) if not node.name]
    for i, node in nameless:
        name = f"{node.op_type}_{i}"
        while name in taken:
            name += "_"
        node.name = name
    return bool(nameless)


def constants_of(graph: Any) -> dict[str, Any]:
    """The constant tensors of a graph by name: its own, and those that operators hold."""
    found = {each.name: each for each in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            found[node.output[0]] = node.attribute[0].t
    return found


def layers_of(graph: Any) -> list[OnnxLayer]:
    """The layers of a graph whose operators have names, in their order.

    What comes before the first of them belongs to none.
    """
    tensors = Tensors(graph)
    heads = [node for node in graph.node if node.op_type in WEIGHTED]
    paths = unique([_path(node, tensors) for node in heads])
    number = {node.name: i for i, node in enumerate(heads)}
    nodes: list[list[str]] = [[] for _ in heads]
    results: list[list[str]] = [[] for _ in heads]
    of: dict[str, int] = {}
    for node in graph.node:
        at = number.get(node.name, max((of[name] for name in node.input if name in of), default=-1))
        of.update(dict.fromkeys(node.output, at))
        if at >= 0 and node.op_type not in CONVERSIONS:
            nodes[at].append(node.name)
            results[at].extend(node.output)
    return [
        OnnxLayer(
            path, kind_of(node, tensors), node.name, tensors.bits(node), tuple(n), tuple(r), tensors.weights(node)
        )
        for node, path, n, r in zip(heads, paths, nodes, results, strict=True)
    ]


class Tensors:
    """The constants of a graph, found by what operators read."""

    def __init__(self, graph: Any) -> None:
        self.constants: Mapping[str, Any] = {each.name: each for each in graph.initializer}
        self.makers: Mapping[str, Any] = {name: node for node in graph.node for name in node.output}
        self.readers: dict[str, list[Any]] = {}
        for node in graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)

    def source(self, name: str) -> str:
        """The constant that a name stands for, by whatever changes only its form; empty where it is computed."""
        seen = 0
        while name not in self.constants and seen < 10:
            node = self.makers.get(name)
            if node is None or node.op_type not in ("DequantizeLinear", "Identity", "Transpose", "Reshape", "Cast"):
                break
            name, seen = node.input[0], seen + 1
        node = self.makers.get(name)
        return name if name in self.constants or (node is not None and node.op_type == "Constant") else ""

    def weights(self, node: Any) -> str:
        """The constant that is an operator's weights; empty where it has none."""
        at = WEIGHTS_AT.get(node.op_type, 1)
        found = self.source(node.input[at]) if len(node.input) > at else ""
        return found or (self.source(node.input[0]) if node.op_type in PRODUCTS else "")

    def bits(self, node: Any) -> int:
        """Of an operator's weights."""
        if node.op_type == "MatMulNBits":
            return next((each.i for each in node.attribute if each.name == "bits"), 4)
        tensor = self.constants.get(self.weights(node))
        return _BITS.get(tensor.data_type, 32) if tensor is not None else 32


_BITS = {2: 8, 3: 8, 10: 16, 16: 16, 21: 4, 22: 4}
"""Numbers of ONNX's types (UINT8, INT8, FLOAT16, BFLOAT16, UINT4, INT4) to their bits."""


def kind_of(node: Any, tensors: Tensors) -> str:
    """What a layer is called, such as ``depthwise convolution`` or ``1x1 convolution``."""
    name = WEIGHTED[node.op_type]
    if name == "linear layer" and not tensors.weights(node):
        return "matrix product"
    if not name.endswith("convolution"):
        return name
    settings = {each.name: each for each in node.attribute}
    groups = settings["group"].i if "group" in settings else 1
    tensor = tensors.constants.get(tensors.weights(node))
    dims = list(tensor.dims) if tensor is not None else []
    if groups > 1:
        return f"depthwise {name}" if dims and dims[0] % groups == 0 and dims[1] == 1 else f"grouped {name}"
    size = "x".join(map(str, dims[2:]))
    return f"{size} {name}" if size else name


def _path(node: Any, tensors: Tensors) -> str:
    weights = QUANTISED.sub("", tensors.weights(node))
    if weights.endswith(".weight") and not MADE.match(weights):
        return weights.removesuffix(".weight").removeprefix("network.")
    return scope_of(node.name) or _of_bias(node, tensors) or QUANTISED.sub("", node.name)


def _of_bias(node: Any, tensors: Tensors) -> str:
    """The module that the name of a bias tells which is added to an operator's result; empty where it tells none."""
    for _ in range(STEPS):
        users = tensors.readers.get(node.output[0], [])
        if len(users) != 1 or users[0].op_type not in ("Add", "Mul", "Cast"):
            return ""
        node = users[0]
        bias = next((name for name in map(tensors.source, node.input) if name.endswith(".bias")), "")
        if node.op_type == "Add" and bias:
            return bias.removesuffix(".bias").removeprefix("network.")
    return ""


def scope_of(name: str) -> str:
    """The module that an operator's name tells, empty where it tells none.

    Torch's exporter writes ``/network/layer1/layer1.0/conv1/Conv`` for ``layer1.0.conv1``.
    """
    found: list[str] = []
    for part in QUANTISED.sub("", name).split("/")[1:-1] if name.startswith("/") else []:
        if found and part.startswith(f"{found[-1]}."):
            found[-1] = part
        else:
            found.append(part)
    return ".".join(found).removeprefix("network").removeprefix(".")


def unique(paths: list[str]) -> list[str]:
    """The paths, those of layers that are used several times with a number behind."""
    return list(_numbered(paths))


def _numbered(paths: list[str]) -> Iterator[str]:
    seen: Counter[str] = Counter()
    for path in paths:
        seen[path] += 1
        yield path if seen[path] == 1 else f"{path} ({seen[path]})"
