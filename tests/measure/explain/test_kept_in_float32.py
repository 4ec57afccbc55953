"""8-bit files with some of their layers in float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

import netwright as nw
from netwright.measure.explain.kept import keep_in_float32
from netwright.measure.explain.onnx_graph import OnnxGraph
from netwright.measure.sampling import SamplingPlan

from .conftest import PATHS, Pair

TARGET = "onnxruntime,precision=int8,form=u8s8"
QUICK = SamplingPlan(precision=0.5, max_seconds=0.05, repeats=0)


def outputs(path: Path, pair: Pair) -> np.ndarray:
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"input": each[None].numpy()})[0] for each in pair.inputs])


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kept=st.sets(st.sampled_from(PATHS)))
def test_layers_that_are_kept_have_the_weights_of_float32_and_all_others_theirs(
    kept: set[str], pair: Pair, tmp_path: Path
) -> None:
    graph, whole = OnnxGraph(pair.low, tmp_path), OnnxGraph(pair.whole, tmp_path)
    keep_in_float32(graph, whole, kept, tmp_path / "kept.onnx")
    onnx.checker.check_model(onnx.load(tmp_path / "kept.onnx"))
    found = OnnxGraph(tmp_path / "kept.onnx", tmp_path)
    assert [each.path for each in graph.layers] == PATHS
    assert [each.bits for each in found.layers] == [32 if path in kept else 8 for path in PATHS]
    for mine, theirs in zip(found.layers, whole.layers, strict=True):
        if theirs.path in kept:
            a, b = found.weights(mine), whole.weights(theirs)
            assert a is not None and b is not None and min(np.abs(a - b).max(), 1.0) < 1e-6
    wanted = outputs(pair.whole, pair)
    assert np.abs(outputs(tmp_path / "kept.onnx", pair) - wanted).max() < 0.2 * np.abs(wanted).max()


def test_all_of_them_kept_is_the_float32_network_but_for_its_output(pair: Pair, tmp_path: Path) -> None:
    graph, whole = OnnxGraph(pair.low, tmp_path), OnnxGraph(pair.whole, tmp_path)
    keep_in_float32(graph, whole, PATHS, tmp_path / "kept.onnx")
    kinds = [node.op_type for node in onnx.load(tmp_path / "kept.onnx").graph.node]
    assert kinds.count("QuantizeLinear") <= 1 and "Relu" in kinds
    wanted, rounded = outputs(pair.whole, pair), outputs(pair.low, pair)
    error = np.abs(outputs(tmp_path / "kept.onnx", pair) - wanted).max()
    assert error <= np.abs(rounded - wanted).max() and error < 0.01 * np.abs(wanted).max()


@pytest.mark.parametrize("outputs", [4, 3])
def test_weights_that_lie_the_other_way_round_in_the_8_bit_file_are_turned(outputs: int, tmp_path: Path) -> None:
    weights = np.random.default_rng(0).standard_normal((4, outputs)).astype(np.float32)
    step = np.abs(weights).max() / np.float32(127)
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 4])
    y = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, outputs])
    low = {
        "a.weight_quantized": np.rint(weights.T / step).astype(np.int8), "step": step, "zero": np.zeros((), np.int8),
        "scale": np.float32(0.02), "middle": np.uint8(128),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "middle"], ["q"], "q"),
        helper.make_node("DequantizeLinear", ["q", "scale", "middle"], ["d"], "d"),
        helper.make_node("DequantizeLinear", ["a.weight_quantized", "step", "zero"], ["w"], "w"),
        helper.make_node("Gemm", ["d", "w"], ["y"], "low", transB=1),
    ]
    whole = [helper.make_node("MatMul", ["x", "a.weight"], ["y"], "whole")]
    for name, some, held in (("low", nodes, low), ("whole", whole, {"a.weight": weights})):
        constants = [numpy_helper.from_array(np.asarray(value), key) for key, value in held.items()]
        graph = helper.make_graph(some, "g", [x], [y], constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        onnx.save(model, tmp_path / f"{name}.onnx")
    files = OnnxGraph(tmp_path / "low.onnx", tmp_path), OnnxGraph(tmp_path / "whole.onnx", tmp_path)
    keep_in_float32(*files, ["a"], tmp_path / "kept.onnx")
    kept = OnnxGraph(tmp_path / "kept.onnx", tmp_path)
    np.testing.assert_array_equal(kept.weights(kept.layers[0]), weights.T)


def test_none_of_them_kept_is_the_file(pair: Pair, tmp_path: Path) -> None:
    graph, whole = OnnxGraph(pair.low, tmp_path), OnnxGraph(pair.whole, tmp_path)
    keep_in_float32(graph, whole, (), tmp_path / "kept.onnx")
    np.testing.assert_array_equal(outputs(tmp_path / "kept.onnx", pair), outputs(pair.low, pair))


def test_slow_layers_are_tried_in_float32(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netwright.measure.explain.explanation.SLOWER", 0.0)
    monkeypatch.setattr("netwright.measure.explain.explanation.NOTABLE", -100.0)
    found = nw.explain(pair.low, TARGET, pair.whole, {"input": pair.inputs}, plan=QUICK)
    *each, together = found.trials
    assert len(each) == 3 and {path for one in each for path in one.layers} == set(together.layers)
    assert all(one.latency.value > 0 for one in found.trials)
