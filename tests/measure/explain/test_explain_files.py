"""``nw.explain`` and ``netwright explain`` on real files."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
from torch import nn

import netwright as nw
from netwright.cli.main import main
from netwright.core.errors import MeasureError, MissingExtra
from netwright.formats.onnx import write_onnx
from netwright.formats.quantised import quantise_onnx
from netwright.measure.runtimes.base import Runtime
from netwright.measure.runtimes.onnxruntime import OnnxRuntime
from netwright.measure.sampling import SamplingPlan

from .conftest import PATHS, Pair

QUICK = SamplingPlan(precision=0.5, max_seconds=0.05, repeats=0)
TARGET = "onnxruntime,precision=int8,form=u8s8"


def test_every_layer_has_its_time_in_both_files_and_its_errors(pair: Pair) -> None:
    found = nw.explain(pair.low, TARGET, pair.whole, {"input": pair.inputs}, plan=QUICK)
    assert [each.path for each in found.layers] == PATHS
    assert [each.kind for each in found.layers] == [
        "3x3 convolution", "depthwise convolution", "1x1 convolution", "linear layer",
    ]  # fmt: skip
    assert all(each.ms > 0 and each.float_ms and each.runs_in == "int8" and each.bits == 8 for each in found.layers)
    assert all(each.errors.sqnr and each.errors.alone and not each.fell_back for each in found.layers)
    assert found.ms == pytest.approx(sum(each.whole_ms for each in found.layers) + found.others_ms)
    assert {each.kind for each in found.conversions} >= {"QuantizeLinear", "DequantizeLinear"}
    assert found.sqnr and 20 < found.sqnr < 60 and not found.notes
    assert str(found).startswith("the file is ") and found.latency.value > 0
    json.dumps(found.to_json(), allow_nan=False)


def test_a_profile_adds_up_to_the_time_of_an_inference(pair: Pair) -> None:
    operators = OnnxRuntime().profile(pair.whole, {"input": pair.inputs[:1].numpy()}, 0.05)
    assert {each.kind for each in operators} >= {"Conv", "Gemm"} and all(each.ms >= 0 for each in operators)
    assert len({each.name for each in operators}) == len(operators)
    assert {each.precision for each in operators if each.kind in ("Conv", "Gemm")} == {"float32"}


def test_a_file_alone_is_compared_with_the_network_in_it(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    main(["explain", str(pair.low), "--target", TARGET, "--shape", "3x8x8", "--max-seconds", "0.05"])
    said = capsys.readouterr()
    assert all(path in said.out for path in PATHS) and "* the file is" in said.out
    assert "float32 is the network in the file" in said.err and "errors are those on noise" in said.err


def test_the_command_prints_all_of_it_as_json(pair: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "x.npz", input=pair.inputs.numpy())
    flags = ["--against", str(pair.whole), "--inputs", str(tmp_path / "x.npz"), "--max-seconds", "0.05", "--json"]
    main(["explain", str(pair.low), "--target", TARGET, *flags])
    found = json.loads(capsys.readouterr().out)
    assert [each["path"] for each in found["layers"]] == PATHS and found["sentences"] and found["target"]["runtime"]


def test_products_with_ranges_of_each_input_are_explained(tmp_path: Path) -> None:
    torch.manual_seed(0)
    low, whole = tmp_path / "low.onnx", tmp_path / "whole.onnx"
    inputs, module = torch.randn(4, 32), nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 8)).eval()
    for path in (low, whole):
        write_onnx(module, inputs[:1], path)
    quantise_onnx(low, [{"input": inputs[:1].numpy()}], "u8u8")
    found = nw.explain(low, TARGET, whole, {"input": inputs}, plan=QUICK)
    assert [each.path for each in found.layers] == ["0", "2"]
    assert all(each.runs_in == "int8" and each.errors.alone and each.errors.alone < 60 for each in found.layers)
    with pytest.raises(MeasureError, match="give the file that it was quantised from with --against"):
        nw.explain(low, TARGET, plan=QUICK)


class Samples(CalibrationDataReader):  # type: ignore[misc]  # its package has no types
    """Inputs one by one."""

    def __init__(self, inputs: torch.Tensor) -> None:
        self._left = iter(inputs.split(1))

    def get_next(self) -> dict[str, np.ndarray] | None:
        found = next(self._left, None)
        return None if found is None else {"input": found.numpy()}


def test_a_file_of_operators_on_whole_numbers_has_times_and_no_trials(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("netwright.measure.explain.explanation.SLOWER", 0.0)
    monkeypatch.setattr("netwright.measure.explain.explanation.NOTABLE", -100.0)
    quantize_static(pair.whole, tmp_path / "q.onnx", Samples(pair.inputs), quant_format=QuantFormat.QOperator)
    found = nw.explain(tmp_path / "q.onnx", TARGET, pair.whole, {"input": pair.inputs}, plan=QUICK)
    assert [each.path for each in found.layers] == PATHS and not found.trials
    assert all(each.runs_in == "int8" for each in found.layers) and found.sqnr and found.sqnr > 15


def test_what_cannot_be_explained_says_why(pair: Pair, write: Callable[..., Pair], tmp_path: Path) -> None:
    with pytest.raises(MeasureError, match="is not quantised: there is nothing to explain"):
        nw.explain(pair.whole, TARGET, plan=QUICK)
    with pytest.raises(MeasureError, match="there is no file"):
        nw.explain(tmp_path / "none.onnx", TARGET, plan=QUICK)
    (tmp_path / "n.onnx").write_text("nothing")
    with pytest.raises(MeasureError, match="is no ONNX file"):
        nw.explain(tmp_path / "n.onnx", TARGET, plan=QUICK)
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy"]
    nameless = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", ends[:1], ends[1:])
    onnx.save(onnx.helper.make_model(nameless), tmp_path / "n.onnx")
    with pytest.raises(MeasureError, match=f"^{tmp_path}/n.onnx has no convolution"):
        nw.explain(tmp_path / "n.onnx", TARGET, plan=QUICK)
    moving = pair.inputs.clone().requires_grad_()
    with pytest.raises(MeasureError, match="but 2 were given"):
        nw.explain(pair.low, TARGET, pair.whole, {"a": moving, "b": moving}, plan=QUICK)
    with pytest.raises(MeasureError, match="is quantised too: --against is the float32 file"):
        nw.explain(pair.low, TARGET, pair.low, {"input": pair.inputs}, plan=QUICK)
    with pytest.raises(
        MeasureError, match=r"fed with noise: .* with --inputs, an .npz file of the arrays input \[1, 3, 1"
    ):
        nw.explain(write(module=nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3))).low, TARGET, plan=QUICK)
    other = tmp_path / "other.onnx"
    write_onnx(nn.Sequential(nn.Flatten(), nn.Linear(192, 5)).eval(), pair.inputs[:1], other)
    with pytest.raises(MeasureError, match="name their layers differently"):
        nw.explain(pair.low, TARGET, other, plan=QUICK)


def test_both_files_are_guarded_and_errors_are_of_one_of_them(pair: Pair, tmp_path: Path) -> None:
    strange = onnx.load(pair.whole)
    strange.graph.node.append(onnx.helper.make_node("Run", ["input"], ["nothing"], name="run"))
    onnx.save(strange, tmp_path / "strange.onnx")
    with pytest.raises(MeasureError, match=r"strange\.onnx") as told:
        nw.explain(pair.low, TARGET, tmp_path / "strange.onnx", {"input": pair.inputs}, plan=QUICK)
    assert pair.low.name not in str(told.value)
    onnx.save(onnx.load(pair.whole), tmp_path / "far.onnx", save_as_external_data=True, location="w", size_threshold=0)
    (tmp_path / "w").replace(tmp_path.parent / "w")
    (tmp_path / "w").symlink_to(tmp_path.parent / "w")
    with pytest.raises(MeasureError, match=r"far\.onnx keeps weights in 'w', a link to a file elsewhere"):
        nw.explain(pair.low, TARGET, tmp_path / "far.onnx", {"input": pair.inputs}, plan=QUICK)


def test_without_openvino_its_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    (tmp_path / "n.xml").write_text("<net/>")
    with pytest.raises(MissingExtra, match="openvino"):
        nw.explain(tmp_path / "n.xml", "openvino,precision=int8")


def test_a_runtime_that_does_not_tell_says_so() -> None:
    class Dumb(OnnxRuntime):
        profile = Runtime.profile

    with pytest.raises(MeasureError, match="dumb does not tell the times of single operators"):
        Dumb().profile(Path("n.onnx"), {}, 0.1)
