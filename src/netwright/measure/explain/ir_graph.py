"""What a file that OpenVINO reads says of its layers, and of what quantises them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import MeasureError, format_error
from ...formats.onnx_layers import Layer, scope_of, unique
from ..runtimes.base import Feeds, in_order
from ..runtimes.openvino import VALUES, OpenVino, unpacked
from ..runtimes.openvino_profile import ADDED
from .errors import LayerErrors, decibels, mean_noise, relative_noise
from .graph import Graph

HEADS = {
    "Convolution": "convolution",
    "GroupConvolution": "grouped convolution",
    "ConvolutionBackpropData": "transposed convolution",
    "GroupConvolutionBackpropData": "grouped transposed convolution",
    "MatMul": "linear layer",
}
"""Operators that make a layer where they have weights, and what one of them is called."""
SMALL = {"i8": 8, "u8": 8, "i4": 4, "u4": 4}
"""OpenVINO's types of few bits."""


class IrGraph(Graph):
    """A file as OpenVINO reads it.

    Args:
        path: the path of the file.
        folder: where a twin is written.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        OpenVino.require()
        import openvino as ov

        self.path, self._folder = path, folder
        with unpacked(path) as file:
            try:
                self.model = ov.Core().read_model(file).clone()  # whose weights are no file that is gone soon
            except RuntimeError as error:
                raise MeasureError(f"openvino cannot read {path}: {format_error(error)[:500]}") from error

    @cached_property
    def nodes(self) -> dict[str, Any]:
        """All operators but constants, in their order, by name."""
        return {
            node.get_friendly_name(): node
            for node in self.model.get_ordered_ops()
            if node.get_type_name() not in VALUES
        }

    @property
    def own(self) -> set[str]:
        return {*self.nodes, *(ADDED.sub("", name) for name in self.nodes)}

    @property
    def inputs(self) -> list[str]:
        return [each.any_name for each in self.model.inputs]

    @cached_property
    def layers(self) -> list[Layer]:
        heads = {name: node for name, node in self.nodes.items() if _weights(node) is not None}
        number = {name: i for i, name in enumerate(heads)}
        members: list[list[str]] = [[] for _ in heads]
        of: dict[str, int] = {}
        for name, node in self.nodes.items():
            before = [of.get(each.get_source_output().get_node().get_friendly_name(), -1) for each in node.inputs()]
            of[name] = at = number.get(name, max(before, default=-1))
            if at >= 0 and node.get_type_name() not in ("FakeQuantize", "ShapeOf", "Convert"):
                members[at].append(name)
        if not heads:
            raise MeasureError(f"{self.path} has no convolution, no product with weights and no other layer to explain")
        paths = unique([scope_of(ADDED.sub("", name)) or ADDED.sub("", name) for name in heads])
        return [
            Layer(path, _kind(node), name, _bits(node), (*each, *(ADDED.sub("", e) for e in each)), tuple(each))
            for path, (name, node), each in zip(paths, heads.items(), members, strict=True)
        ]

    def twin(self, folder: Path) -> IrGraph:
        import openvino as ov

        path = folder / "float32.xml"
        model = self.model.clone()
        for node in model.get_ordered_ops():
            if node.get_type_name() == "FakeQuantize":
                node.output(0).replace(node.input_value(0))
        ov.save_model(model, path, compress_to_fp16=False)
        return IrGraph(path, folder)

    def run(self, examples: Sequence[Feeds], names: Sequence[str]) -> list[tuple[list[np.ndarray], dict[str, Any]]]:
        """The outputs, and what operators of these names give after they are rounded, of each example."""
        import openvino as ov
        from openvino import opset13

        model = self.model.clone()
        feeds = in_order(self.inputs, examples[0], self.path)
        model.reshape({name: list(value.shape) for name, value in feeds.items()})
        nodes, count = {node.get_friendly_name(): node for node in model.get_ordered_ops()}, len(model.outputs)
        wanted = [result.input_value(0) for result in model.get_results()]
        wanted += [_rounded(nodes[name]).output(0) for name in names]
        model = ov.Model([opset13.result(value) for value in wanted], model.get_parameters(), "explained")
        hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
        request = ov.Core().compile_model(model, "CPU", hints).create_infer_request()
        found = []
        for each in examples:
            request.infer(in_order(self.inputs, each, self.path))
            values = [np.array(request.get_output_tensor(i).data) for i in range(count + len(names))]
            found.append((values[:count], dict(zip(names, values[count:], strict=True))))
        return found


def ir_errors(graph: IrGraph, whole: IrGraph, examples: Sequence[Feeds]) -> tuple[float, Mapping[str, LayerErrors]]:
    """The ratio of the outputs to their error, in dB, and that of each layer's last result."""
    pairs = {}
    for layer in whole.layers:
        name = next((each for each in reversed(layer.results) if each in graph.nodes), None)
        if name is not None:
            pairs[layer.path] = name
    mine, theirs = (each.run(examples, list(pairs.values())) for each in (graph, whole))
    noise = mean_noise((a, b) for (a, _), (b, _) in zip(mine, theirs, strict=True))
    found = {}
    for path, name in pairs.items():
        both = [(a[name], b[name]) for (_, a), (_, b) in zip(mine, theirs, strict=True)]
        if all(a.shape == b.shape and a.dtype.kind == "f" and np.isfinite([a, b]).all() for a, b in both):
            found[path] = LayerErrors(decibels(float(np.mean([relative_noise([a], [b]) for a, b in both]))))
    return decibels(noise), found


def _rounded(node: Any) -> Any:
    """The operator that rounds what another one gives; that itself where there is none."""
    users = [each.get_node() for each in node.output(0).get_target_inputs()]
    return next((user for user in users if user.get_type_name() == "FakeQuantize"), node)


def _constant(value: Any) -> Any | None:
    """The constant that an operator reads, by whatever changes only its form; None where it is computed."""
    node = value.get_node()
    while node.get_type_name() in ("Convert", "Multiply", "Subtract", "FakeQuantize", "Reshape", "Transpose"):
        node = node.input_value(0).get_node()
    return node if node.get_type_name() == "Constant" else None


def _weights(node: Any) -> Any | None:
    """The constant that is the weights of a layer's own operator; None for other operators."""
    return _constant(node.input_value(1)) if node.get_type_name() in HEADS else None


def _bits(node: Any) -> int:
    value = node.input_value(1).get_node()
    kind = _weights(node).get_element_type().get_type_name()  # type: ignore[union-attr]
    return SMALL.get(kind, 8 if value.get_type_name() == "FakeQuantize" else 32)


def _kind(node: Any) -> str:
    name, shape = HEADS[node.get_type_name()], list(node.input_value(1).get_partial_shape().to_shape())
    if name in ("convolution", "transposed convolution"):
        return f"{'x'.join(map(str, shape[2:]))} {name}"
    return name.replace("grouped", "depthwise") if name.startswith("grouped") and shape[2] == 1 else name
