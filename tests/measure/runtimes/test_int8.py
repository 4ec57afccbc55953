"""8-bit ONNX files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from cases import NETWORKS, difference, network
from torch import nn

from netwright.core.errors import MeasureError
from netwright.formats import onnx as onnx_format
from netwright.formats.onnx import write_onnx
from netwright.formats.quantised import SAMPLES, calibration, quantise_onnx
from netwright.measure.convert import feeds_of, outputs_of
from netwright.measure.runtimes.onnxruntime import OnnxRuntime
from netwright.measure.worker import TOLERANCE


def written(module: nn.Module, inputs: Any, path: Path) -> str:
    write_onnx(module.eval(), inputs, path)
    return quantise_onnx(path, inputs)


def difference_of(module: nn.Module, inputs: Any, path: Path) -> float:
    (got, *_), (want, *_) = OnnxRuntime().open(path, feeds_of(inputs)).outputs(), outputs_of(module, inputs)
    return float(np.linalg.norm(got - want) / np.linalg.norm(want))


@pytest.mark.parametrize("name", NETWORKS)
def test_computes_about_what_the_network_computes(name: str, tmp_path: Path) -> None:
    found = difference(OnnxRuntime(precision="int8"), *network(name), tmp_path / "n.onnx")
    assert 1e-6 < found < TOLERANCE["int8"]


def test_convolutions_are_static_with_unsigned_activations_and_signed_weights(tmp_path: Path) -> None:
    said = written(*network("inverted residual"), tmp_path / "n.onnx")
    graph = onnx.load(tmp_path / "n.onnx").graph
    assert said.startswith("static QDQ")
    constants = {each.name: each for each in graph.initializer}
    points = {n.op_type: Counter() for n in graph.node if n.op_type.endswith("Linear")}
    weights = 0
    for node in graph.node:
        if node.op_type == "QuantizeLinear":
            points["QuantizeLinear"][constants[node.input[2]].data_type] += 1
        held = constants.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if held is not None and held.data_type == onnx.TensorProto.INT8:
            weights += 1
            assert len(onnx.numpy_helper.to_array(constants[node.input[1]])) == held.dims[0], "not per channel"
    assert set(points["QuantizeLinear"]) == {onnx.TensorProto.UINT8}
    assert weights == sum(n.op_type in ("Conv", "Gemm") for n in graph.node)


@pytest.mark.parametrize("exporter", onnx_format.EXPORTERS)
def test_products_are_dynamic(exporter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_format, "EXPORTERS", {exporter: onnx_format.EXPORTERS[exporter]})
    module, inputs = network("vit")  # with one convolution
    assert written(module, inputs, tmp_path / "n.onnx").startswith("dynamic, 13 products")
    kinds = Counter(n.op_type for n in onnx.load(tmp_path / "n.onnx").graph.node)
    assert kinds["MatMulInteger"] == 13 and kinds["Conv"] == 1 and "ConvInteger" not in kinds


def test_weights_that_layers_share_are_not_turned_round_twice(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(8, 8)
    module, inputs = nn.Sequential(layer, nn.ReLU(), layer), torch.randn(4, 8)
    written(module, inputs, tmp_path / "n.onnx")
    assert difference_of(module, inputs, tmp_path / "n.onnx") < 0.05


def test_the_batch_stays_free(tmp_path: Path) -> None:
    for name in ("inverted residual", "bert"):
        written(*network(name), tmp_path / "n.onnx")
        module, inputs = network(name, 3)
        assert difference_of(module, inputs, tmp_path / "n.onnx") < TOLERANCE["int8"]


def test_nothing_to_quantise_is_an_error_and_the_file_is_kept(tmp_path: Path) -> None:
    write_onnx(nn.Sequential(nn.ReLU(), nn.Softmax(-1)), torch.randn(1, 4), tmp_path / "n.onnx")
    before = (tmp_path / "n.onnx").read_bytes()
    with pytest.raises(MeasureError, match="nothing to quantise"):
        quantise_onnx(tmp_path / "n.onnx", torch.randn(1, 4))
    assert (tmp_path / "n.onnx").read_bytes() == before


def test_calibration_begins_with_the_inputs_and_leaves_whole_numbers() -> None:
    feeds = {"x": np.random.default_rng(0).standard_normal((2, 5)).astype(np.float32), "i": np.arange(3)}
    found = calibration(feeds)
    assert len(found) == SAMPLES and all(f["x"].dtype == np.float32 for f in found)
    assert np.array_equal(found[0]["x"], feeds["x"]) and not np.array_equal(found[1]["x"], feeds["x"])
    assert all(np.array_equal(f["i"], feeds["i"]) for f in found)
