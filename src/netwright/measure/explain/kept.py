"""An 8-bit ONNX file with some of its layers in float32: whether that is worth it can be measured, and is not sure."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from ...formats.dequantised import dequantised, is_relu, remove_unread_constants
from .onnx_graph import OnnxGraph, turned


def keep_in_float32(graph: OnnxGraph, whole: OnnxGraph, paths: Collection[str], path: Path) -> None:
    """Write a file with layers in float32: their weights are those of the float32 file, and what passes from one of
    them to the next is not rounded; what comes from other layers, and goes to them, is.

    Args:
        graph: the 8-bit file, whose ranges are constants.
        whole: the same network in float32.
        paths: of the layers.
        path: of the new file.
    """
    import onnx

    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    kept = {name for layer in graph.layers if layer.path in paths for name in layer.nodes}
    weights = {layer.path: whole.weights(layer) for layer in whole.layers if layer.path in paths}
    heads = {layer.node: weights.get(layer.path) for layer in graph.layers if layer.path in paths}
    added: list[tuple[str, Any]] = []
    for node in model.graph.node:
        if node.name in kept:
            for i, name in enumerate(node.input):
                node.input[i] = _unrounded(graph, model, name, paths, heads.get(node.name) if i == 1 else None, added)
    for before, relu in added:
        at = next(i for i, node in enumerate(model.graph.node) if node.name == before)
        model.graph.node.insert(at, relu)
    _remove_unused(model.graph)
    onnx.save(model, path)


def _unrounded(
    graph: OnnxGraph, model: Any, name: str, paths: Collection[str], weights: np.ndarray | None, added: list[Any]
) -> str:
    """The name of what a layer in float32 reads instead."""
    from onnx import helper, numpy_helper

    back = graph.tensors.makers.get(name)
    if back is None or back.op_type != "DequantizeLinear":
        return name
    if back.input[0] in graph.constants:
        values = dequantised(back, graph.constants)
        if not any(each.name == f"{name}_float" for each in model.graph.initializer):
            own = None if weights is None else turned(weights, values)
            chosen = (values if own is None else own).astype(np.float32)
            model.graph.initializer.append(numpy_helper.from_array(chosen, f"{name}_float"))
        return f"{name}_float"
    quantiser = graph.quantiser(name)
    if quantiser is None or (
        quantiser.input[0] not in graph.inputs and graph.places.get(quantiser.input[0]) not in paths
    ):
        return name
    source = str(quantiser.input[0])
    if not is_relu(quantiser, graph.constants, graph.tensors.makers):
        return source
    if not any(relu.name == f"{source}_as_Relu" for _, relu in added):
        relu = helper.make_node("Relu", [source], [f"{source}_relu"], name=f"{source}_as_Relu")
        added.append((quantiser.name, relu))
    return f"{source}_relu"


def _remove_unused(graph: Any) -> None:
    """Take away operators and constants that nothing reads."""
    while idle := _unread(graph):
        for node in idle:
            graph.node.remove(node)
    remove_unread_constants(graph)


def _unread(graph: Any) -> list[Any]:
    used = {each.name for each in graph.output} | {name for node in graph.node for name in node.input}
    return [node for node in graph.node if not used & set(node.output)]
