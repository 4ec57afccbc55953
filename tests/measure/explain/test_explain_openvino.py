"""``nw.explain`` on OpenVINO: its profile, and its own files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import netwright as nw
from netwright.core.errors import MeasureError
from netwright.measure.explain.ir_graph import IrGraph
from netwright.measure.runtimes.openvino import OpenVino
from netwright.measure.sampling import SamplingPlan

from .conftest import PATHS, Pair, network

pytest.importorskip("openvino")
pytest.importorskip("nncf")

QUICK = SamplingPlan(precision=0.5, max_seconds=0.05, repeats=0)
TARGET = "openvino,precision=int8,form=u8s7"


@pytest.fixture(scope="module")
def own(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """The network as OpenVINO's own files."""
    folder = tmp_path_factory.mktemp("ir")
    samples = [pair.inputs[i : i + 1] for i in range(8)]
    OpenVino().convert(network(), samples[0], folder / "float32.ovir")
    OpenVino(precision="int8", form="u8s7").convert(network(), samples[0], folder / "int8.ovir", samples)
    return Pair(folder / "int8.ovir", folder / "float32.ovir", pair.inputs)


def test_an_onnx_file_has_its_layers_as_openvino_runs_them(pair: Pair) -> None:
    found = nw.explain(pair.low, TARGET, pair.whole, {"input": pair.inputs}, plan=QUICK)
    assert [each.path for each in found.layers] == PATHS
    assert all(each.float_ms is not None and each.errors.alone for each in found.layers) and found.ms > 0
    assert {each.runs_in for each in found.layers} <= {"int8", "float32"} and found.target["runtime"] == "openvino"
    assert "int8" in {each.runs_in for each in found.layers}


def test_its_own_file_tells_what_fell_back_and_where_it_is_converted(own: Pair) -> None:
    found = nw.explain(own.low, TARGET, own.whole, {"input": own.inputs}, plan=QUICK)
    assert [each.path for each in found.layers] == PATHS
    assert [each.kind for each in found.layers][1:3] == ["depthwise convolution", "1x1 convolution"]
    assert all(each.bits == 8 and each.float_ms is not None for each in found.layers) and found.ms > 0
    assert found.sqnr and 15 < found.sqnr < 70 and all(each.errors.sqnr for each in found.layers)
    fell = [each.path for each in found.layers if each.fell_back]
    assert all(any(path in said and "yet run" in said for said in found.sentences) for path in fell)
    assert {each.kind for each in found.conversions} <= {"FakeQuantize", "Reorder", "Convert"}


def test_its_own_file_alone_is_compared_with_the_network_in_it(own: Pair) -> None:
    found = nw.explain(own.low, TARGET, inputs={"input": own.inputs}, plan=QUICK)
    assert found.sqnr and found.sqnr > 20 and found.notes[0].startswith("float32 is the network in the file")


def test_files_that_a_target_does_not_read_are_refused(own: Pair, tmp_path: Path) -> None:
    with pytest.raises(MeasureError, match="cannot be explained on onnxruntime: ONNX files are on onnxruntime and"):
        nw.explain(own.low, "onnxruntime,precision=int8", plan=QUICK)
    with pytest.raises(MeasureError, match="is not quantised"):
        nw.explain(own.whole, TARGET, plan=QUICK)
    with pytest.raises(MeasureError, match="there is no file"):
        nw.explain(tmp_path / "n.ovir", TARGET, plan=QUICK)


def test_transposed_convolutions_are_layers_of_their_own(tmp_path: Path) -> None:
    layers = nn.ConvTranspose2d(3, 8, 2), nn.ReLU(), nn.ConvTranspose2d(8, 8, 3, groups=8), nn.Conv2d(8, 4, 1)
    inputs = torch.randn(2, 3, 8, 8)
    OpenVino(precision="int8").convert(nn.Sequential(*layers).eval(), inputs[:1], tmp_path / "t.ovir", [inputs[:1]])
    found = IrGraph(tmp_path / "t.ovir", tmp_path)
    kinds = ["2x2 transposed convolution", "depthwise transposed convolution", "1x1 convolution"]
    assert [each.kind for each in found.layers] == kinds
