"""Files that tell which forms of 8-bit products a device computes exactly, and how fast it is in each."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..core.precision import FORMS
from .quantised import Feeds, quantise_onnx

DEPTH = 64
"""Products in one sum: whole registers, on every CPU."""

RANGES = {"QUInt8": (0, 255), "QInt8": (-128, 127)}
REDUCED = (-64, 64)


def extremes(form: str) -> tuple[np.ndarray, np.ndarray]:
    """Activations (2, DEPTH) and weights (DEPTH, 2) of the largest numbers of a form, of both signs."""
    activations, weights, reduced = FORMS[form]
    limits = REDUCED if reduced else RANGES[weights]
    rows = np.stack([np.full(DEPTH, value) for value in RANGES[activations]])
    columns = np.stack([np.full(DEPTH, value) for value in limits], axis=1)
    return _typed(rows, activations), _typed(columns, weights)


def write_extremes(path: Path) -> tuple[Feeds, list[np.ndarray]]:
    """A file with one product of whole numbers for each form, the largest that there are; its inputs, and the exact
    outputs in the order of :data:`netwright.core.precision.FORMS`."""
    from onnx import TensorProto, helper, numpy_helper, save

    feeds, expected = {}, []
    nodes, inputs, outputs, constants = [], [], [], []
    for form in FORMS:
        rows, columns = extremes(form)
        feeds[form] = rows
        expected.append(rows.astype(np.int64) @ columns.astype(np.int64))
        kind = TensorProto.UINT8 if rows.dtype == np.uint8 else TensorProto.INT8
        inputs.append(helper.make_tensor_value_info(form, kind, rows.shape))
        outputs.append(helper.make_tensor_value_info(f"{form}_out", TensorProto.INT32, expected[-1].shape))
        constants.append(numpy_helper.from_array(columns, f"{form}_weights"))
        nodes.append(helper.make_node("MatMulInteger", [form, f"{form}_weights"], [f"{form}_out"]))
    save(_model(helper, nodes, inputs, outputs, constants), path)
    return feeds, expected


def write_workloads(folder: Path) -> tuple[list[Path], Feeds]:
    """A small convolutional network in float32, the same in each form, and inputs for all of them."""
    from onnx import TensorProto, helper, numpy_helper, save

    rng = np.random.default_rng(0)
    nodes, constants = [], []

    def layer(kind: str, name: str, weights: tuple[int, ...], given: str, **settings: Any) -> str:
        size = np.sqrt(2 / np.prod(weights[1:]))
        constants.append(numpy_helper.from_array((size * rng.standard_normal(weights)).astype(np.float32), name))
        nodes.append(helper.make_node(kind, [given, name], [f"{name}_out"], **settings))
        nodes.append(helper.make_node("Relu", [f"{name}_out"], [f"{name}_relu"]))
        return f"{name}_relu"

    out = layer("Conv", "first", (16, 3, 3, 3), "input", pads=[1] * 4)
    inner = layer("Conv", "square", (16, 16, 3, 3), out, pads=[1] * 4)
    nodes.append(helper.make_node("Add", [out, inner], ["sum"]))
    out = layer("Conv", "strided", (32, 16, 3, 3), "sum", pads=[1] * 4, strides=[2, 2])
    out = layer("Conv", "depthwise", (32, 1, 3, 3), out, pads=[1] * 4, group=32)
    out = layer("Conv", "point", (64, 32, 1, 1), out)
    nodes.append(helper.make_node("GlobalAveragePool", [out], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"]))
    out = layer("Gemm", "classes", (64, 64), "flat", transB=1)
    inputs = [helper.make_tensor_value_info("input", TensorProto.FLOAT, (1, 3, 32, 32))]
    outputs = [helper.make_tensor_value_info(out, TensorProto.FLOAT, (1, 64))]
    paths = [folder / f"{form}.onnx" for form in ("float32", *FORMS)]
    save(_model(helper, nodes, inputs, outputs, constants), paths[0])
    samples = [{"input": rng.standard_normal((1, 3, 32, 32)).astype(np.float32)} for _ in range(4)]
    for path, form in zip(paths[1:], FORMS, strict=True):
        shutil.copyfile(paths[0], path)
        quantise_onnx(path, samples, form)
    return paths, samples[0]


def _typed(values: np.ndarray, kind: str) -> np.ndarray:
    return values.astype(np.uint8 if kind == "QUInt8" else np.int8)


def _model(helper: Any, nodes: Sequence[Any], inputs: Any, outputs: Any, constants: Any) -> Any:
    graph = helper.make_graph(nodes, "graph", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
