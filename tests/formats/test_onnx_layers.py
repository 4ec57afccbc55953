"""Layers of ONNX files by their names in the network, and the float32 network in an 8-bit file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from netwright.core.errors import MeasureError
from netwright.formats.dequantised import dequantise, dequantised
from netwright.formats.onnx import EXPORTERS, write_onnx
from netwright.formats.onnx_layers import layers_of, name_nodes
from netwright.formats.quantised import quantise_onnx
from netwright.nets.families.cifar_resnet import CifarResNet


def net() -> nn.Module:
    torch.manual_seed(0)
    block = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.ReLU(), nn.Conv2d(4, 8, 1))
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), block, nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5)).eval()


def graph_of(path: Path) -> Any:
    graph = onnx.load(path).graph
    name_nodes(graph)
    return graph


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_layers_have_the_paths_of_their_modules_whichever_exporter_wrote_them(
    exporter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("netwright.formats.onnx.EXPORTERS", {exporter: EXPORTERS[exporter]})
    write_onnx(net(), torch.randn(1, 3, 8, 8), tmp_path / "n.onnx")
    found = layers_of(graph_of(tmp_path / "n.onnx"))
    assert [(each.path, each.kind, each.bits) for each in found] == [
        ("0", "3x3 convolution", 32),
        ("2.0", "depthwise convolution", 32),
        ("2.2", "1x1 convolution", 32),
        ("5", "linear layer", 32),
    ]


def test_a_quantised_file_has_the_same_layers_with_their_bits(tmp_path: Path) -> None:
    module = CifarResNet(1).eval()
    write_onnx(module, torch.randn(1, 3, 32, 32), tmp_path / "n.onnx")
    before = layers_of(graph_of(tmp_path / "n.onnx"))
    quantise_onnx(tmp_path / "n.onnx", [{"input": np.ones((1, 3, 32, 32), np.float32)}], "u8u8")
    after = layers_of(graph_of(tmp_path / "n.onnx"))
    assert [each.path for each in after] == [each.path for each in before]
    modules = {name for name, each in module.named_modules() if isinstance(each, nn.Conv2d | nn.Linear)}
    assert {each.path for each in before} == modules
    assert {each.bits for each in after} == {8} and {each.bits for each in before} == {32}


def test_a_dynamically_quantised_file_has_the_same_layers(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4)).eval()
    write_onnx(module, torch.randn(1, 16), tmp_path / "n.onnx")
    quantise_onnx(tmp_path / "n.onnx", [{"input": np.ones((1, 16), np.float32)}], "u8s8")
    assert [(each.path, each.bits) for each in layers_of(graph_of(tmp_path / "n.onnx"))] == [("0", 8), ("2", 8)]


def test_products_are_named_by_their_bias_where_the_weights_have_no_name(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval()
    write_onnx(module, torch.randn(1, 4, 16), tmp_path / "n.onnx")
    before = [each.path for each in layers_of(graph_of(tmp_path / "n.onnx")) if each.kind == "linear layer"]
    assert {"linear1", "linear2"} <= set(before)
    quantise_onnx(tmp_path / "n.onnx", [{"input": np.ones((1, 4, 16), np.float32)}], "u8u8")
    after = layers_of(graph_of(tmp_path / "n.onnx"))
    assert [each.path for each in after if each.kind == "linear layer"] == before
    assert {each.path for each in after if each.bits == 8} >= {"linear1", "linear2"}


def test_operators_without_names_get_some_and_layers_used_twice_a_number() -> None:
    nodes = [helper.make_node("MatMul", [a, "w.weight"], [b]) for a, b in (("x", "y"), ("y", "z"))]
    weights = numpy_helper.from_array(np.eye(2, dtype=np.float32), "w.weight")
    io = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 2)) for name in ("x", "z")]
    graph = helper.make_graph(nodes, "g", io[:1], io[1:], [weights])
    assert name_nodes(graph) and not name_nodes(graph)
    assert [(each.path, each.node) for each in layers_of(graph)] == [("w", "MatMul_0"), ("w (2)", "MatMul_1")]
    graph.node[0].name, graph.node[1].name = "MatMul_1", ""
    assert name_nodes(graph) and graph.node[0].name == "MatMul_1"
    assert len({node.name for node in graph.node} - {""}) == 2


@pytest.mark.parametrize("form", ["u8u8", "s8s8", "u8s7"])
def test_the_float32_network_in_a_file_computes_what_the_network_does(form: str, tmp_path: Path) -> None:
    path, inputs = tmp_path / "n.onnx", torch.randn(4, 3, 8, 8)
    write_onnx(net(), inputs[:1], path)
    samples = [{"input": each[None].numpy()} for each in inputs]
    whole = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    wanted = [whole.run(None, each)[0] for each in samples]
    quantise_onnx(path, samples, form)
    model = onnx.load(path)
    rounded = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    dequantise(model)
    onnx.checker.check_model(model)
    kinds = {node.op_type for node in model.graph.node}
    assert not kinds & {"QuantizeLinear", "DequantizeLinear"} and "Relu" in kinds
    twin = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    error = max(np.abs(twin.run(None, each)[0] - want).max() for each, want in zip(samples, wanted, strict=True))
    before = max(np.abs(rounded.run(None, each)[0] - want).max() for each, want in zip(samples, wanted, strict=True))
    assert error < before and error < 0.02 * np.abs(wanted).max()


def test_a_file_without_anything_quantised_or_of_whole_numbers_has_no_twin(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(16, 16)).eval()
    write_onnx(module, torch.randn(1, 16), tmp_path / "n.onnx")
    with pytest.raises(MeasureError, match="is not quantised"):
        dequantise(onnx.load(tmp_path / "n.onnx"))
    quantise_onnx(tmp_path / "n.onnx", [{"input": np.ones((1, 16), np.float32)}], "u8s8")
    with pytest.raises(MeasureError, match=r"computes with whole numbers \(MatMulInteger.*--against"):
        dequantise(onnx.load(tmp_path / "n.onnx"))


@settings(deadline=None, max_examples=25)
@given(axis=st.integers(-3, 2), kind=st.sampled_from(["per tensor", "per channel", "blocks"]), seed=st.integers(0, 99))
def test_dequantised_weights_are_those_of_onnxruntime(axis: int, kind: str, seed: int) -> None:
    rng, shape = np.random.default_rng(seed), [4, 6, 8]
    few = list(shape)
    few[axis] //= 2
    size = {"per tensor": (), "per channel": (shape[axis],), "blocks": tuple(few)}[kind]
    constants = {
        "w": rng.integers(-128, 128, shape, np.int8),
        "s": np.asarray(rng.uniform(0.1, 2, size), np.float32),
        "z": np.asarray(rng.integers(-9, 9, size, np.int8)),
    }
    settings_ = {"block_size": 2} if kind == "blocks" else {}
    node = helper.make_node("DequantizeLinear", ["w", "s", "z"], ["y"], axis=axis, **settings_)
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)
    model = helper.make_model(
        helper.make_graph([node], "g", [], [out], tensors), opset_imports=[helper.make_opsetid("", 21)], ir_version=10
    )
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(dequantised(node, constants), session.run(None, {})[0])
