"""Errors by layer: found where they are made, and counted as a plain loop counts them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from torch import nn
from torch.nn import functional as F

from netwright.core.errors import MeasureError
from netwright.measure.explain.errors import SILENT, decibels, layer_errors, onnx_errors, output_noise
from netwright.measure.explain.onnx_graph import OnnxGraph
from netwright.measure.explain.saturation import _share, saturated

from .conftest import PATHS, Pair


def examples(pair: Pair) -> list[dict[str, np.ndarray]]:
    return [{"input": each[None].numpy()} for each in pair.inputs]


def test_layers_alone_add_up_to_the_error_of_all(pair: Pair, graphs: tuple[OnnxGraph, OnnxGraph]) -> None:
    found = layer_errors(*graphs, examples(pair))
    assert list(found) == PATHS
    together = sum(10 ** (-(each.alone or 0.0) / 10) for each in found.values())
    assert together == pytest.approx(output_noise(*graphs, examples(pair)), rel=0.6)
    assert sum(each.share or 0.0 for each in found.values()) == pytest.approx(1)
    assert all(each.clipped is not None and each.clipped < 0.01 for each in found.values())


@pytest.mark.parametrize("path", PATHS)
def test_the_layer_whose_weights_are_spoilt_is_named(path: str, pair: Pair, tmp_path: Path) -> None:
    model = onnx.load(pair.low)
    graph = OnnxGraph(pair.low, tmp_path)
    name = next(each.weights for each in graph.layers if each.path == path)
    for tensor in model.graph.initializer:
        if tensor.name == name:
            values = numpy_helper.to_array(tensor).astype(np.int32)
            coarse = np.clip(np.rint(values / 40) * 40, -127, 127).astype(np.int8)
            tensor.CopyFrom(numpy_helper.from_array(coarse, name))
    onnx.save(model, tmp_path / "spoilt.onnx")
    found = layer_errors(OnnxGraph(tmp_path / "spoilt.onnx", tmp_path), OnnxGraph(pair.whole, tmp_path), examples(pair))
    assert max(found, key=lambda each: found[each].share or 0.0) == path
    assert (found[path].share or 0.0) > 0.5


def test_ranges_that_are_too_narrow_are_seen_where_they_are(write: Callable[..., Pair], tmp_path: Path) -> None:
    small = write(ranges=[0.05 * torch.randn(1, 3, 8, 8)])
    found = layer_errors(OnnxGraph(small.low, tmp_path), OnnxGraph(small.whole, tmp_path), examples(small))
    low = 10 ** (-0.5) * max(np.abs(small.inputs.numpy()).max(), 1e-9)
    assert low > 0.05 * 4  # most inputs are beyond the range
    assert (found["stem"].clipped or 0.0) > 0.8 and (found["stem"].sqnr or SILENT) < 10


def test_no_error_is_silence() -> None:
    assert decibels(0.0) == SILENT and decibels(1.0) == 0.0 and decibels(0.01) == pytest.approx(20)


def test_the_network_in_the_file_stands_in_for_the_float32_file(pair: Pair, tmp_path: Path) -> None:
    graph = OnnxGraph(pair.low, tmp_path)
    twin = graph.twin(tmp_path)
    assert [each.path for each in twin.layers] == PATHS
    found = layer_errors(graph, twin, examples(pair))
    assert all(each.sqnr is not None and each.alone is not None for each in found.values())


# -- sums that exceed 16 bits -----------------------------------------------------------------------------------------


def pairs_that_exceed(rows: np.ndarray, columns: np.ndarray) -> float:
    """A loop over sums and pairs."""
    count = 0
    for row in rows.astype(int):
        for column in columns.astype(int):
            terms = [a * b for a, b in zip(row, column, strict=True)] + [0]
            sums = [terms[i] + terms[i + 1] for i in range(0, len(row), 2)]
            count += any(not -32768 <= each <= 32767 for each in sums)
    return count / (len(rows) * len(columns))


@settings(deadline=None, max_examples=20)
@given(
    channels=st.integers(1, 4), size=st.sampled_from([1, 2, 3]), stride=st.integers(1, 2), pad=st.integers(0, 1),
    spread=st.integers(1, 2), zero=st.integers(0, 255), seed=st.integers(0, 999),
)  # fmt: skip
def test_sums_of_convolutions_that_exceed_16_bits_are_counted(
    channels: int, size: int, stride: int, pad: int, spread: int, zero: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 256, (1, channels, 6, 6)).astype(np.uint8)
    weights = rng.integers(-128, 128, (3, channels, size, size)).astype(np.int8)
    settings_: dict[str, Any] = {"strides": [stride] * 2, "pads": [pad] * 4, "dilations": [spread] * 2}
    node = helper.make_node("Conv", ["x", "w"], ["y"], **settings_)
    padded = F.pad(torch.from_numpy(values.astype(np.float64)), [pad] * 4, value=zero)
    columns = F.unfold(padded, size, spread, stride=stride)[0].T.reshape(-1, channels, size * size)
    rows = columns.transpose(1, 2).reshape(len(columns), -1).numpy()
    turned = weights.reshape(3, channels, -1).transpose(0, 2, 1).reshape(3, -1)
    assert _share(node, weights, values, zero) == pytest.approx(pairs_that_exceed(rows, turned))


def test_products_of_matrices_are_counted_likewise() -> None:
    rng = np.random.default_rng(0)
    values, weights = rng.integers(0, 256, (4, 7)).astype(np.uint8), rng.integers(-128, 128, (7, 5)).astype(np.int8)
    wanted = pairs_that_exceed(values, weights.T)
    assert 0 < wanted < 1
    assert _share(helper.make_node("MatMul", ["x", "w"], ["y"]), weights, values, 0) == wanted
    gemm = helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)
    assert _share(gemm, weights.T.copy(), values, 0) == wanted


def test_only_forms_that_saturate_have_such_sums(write: Callable[..., Pair], pair: Pair, tmp_path: Path) -> None:
    found = saturated(OnnxGraph(pair.low, tmp_path), examples(pair))
    assert set(found) == {"stem", "blocks.0.2", "head"}  # the depthwise one is computed another way
    for form in ("u8u8", "u8s7", "s8s8"):
        assert not saturated(OnnxGraph(write(form).low, tmp_path), examples(pair))


def test_transposed_convolutions_and_turned_weights_have_no_such_sums(
    write: Callable[..., Pair], tmp_path: Path
) -> None:
    layers = nn.Conv2d(3, 8, 3), nn.ReLU(), nn.ConvTranspose2d(8, 6, 3, 2), nn.ReLU(), nn.Conv2d(6, 4, 1)
    transposed = write(module=nn.Sequential(*layers).eval())
    graph, whole = (OnnxGraph(path, tmp_path) for path in (transposed.low, transposed.whole))
    assert [each.kind for each in graph.layers][1] == "3x3 transposed convolution"
    found = layer_errors(graph, whole, examples(transposed))
    assert [each.saturated is None for each in found.values()] == [False, True, False]
    given, one, zero = (np.full((), value, kind) for value, kind in ((0.5, "f4"), (1, "f4"), (0, "u1")))
    weights = np.full((3, 3), 127, np.int8)
    for turns in (False, True):
        scaled = "w", "step", "wzero"
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
            helper.make_node("DequantizeLinear", [*scaled], ["v"]),
            *([helper.make_node("Transpose", ["v"], ["t"])] if turns else []),
            helper.make_node("MatMul", ["d", "t" if turns else "v"], ["y"]),
        ]
        ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 3]) for name in "xy"]
        held = {"scale": given, "zero": zero, "w": weights, "step": one, "wzero": zero.astype(np.int8)}
        constants = [numpy_helper.from_array(value, name) for name, value in held.items()]
        model = helper.make_model(
            helper.make_graph(nodes, "g", ends[:1], ends[1:], constants),
            opset_imports=[helper.make_opsetid("", 18)], ir_version=9,
        )  # fmt: skip
        onnx.save(model, tmp_path / "turned.onnx")
        sums = saturated(OnnxGraph(tmp_path / "turned.onnx", tmp_path), [{"x": np.full((1, 3), 99, np.float32)}])
        assert list(sums.values()) == ([] if turns else [1.0])


def test_outputs_that_are_not_finite_are_told(pair: Pair, graphs: tuple[OnnxGraph, OnnxGraph]) -> None:
    with pytest.raises(MeasureError, match="not finite"):
        onnx_errors(*graphs, [{"input": np.full((1, 3, 8, 8), np.inf, np.float32)}])
