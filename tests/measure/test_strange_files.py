"""Networks of strangers, damaged or made to do harm: measured, or refused in words; nothing hangs."""

from __future__ import annotations

import os
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from fuzz import mutations
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import netwright as nw
from netwright.core.errors import MeasureError
from netwright.measure.latency import Latency
from netwright.measure.named_network import from_file
from netwright.measure.runtimes.base import Runtime
from netwright.measure.runtimes.executorch import ExecuTorch
from netwright.measure.runtimes.ncnn import Ncnn
from netwright.measure.runtimes.onnxruntime import OnnxRuntime
from netwright.measure.runtimes.openvino import OpenVino
from netwright.measure.runtimes.torch import Torch
from netwright.measure.sampling import SamplingPlan
from netwright.measure.targets import Target

QUICK = SamplingPlan(precision=0.9, max_seconds=0.001, repeats=0)
RUNTIMES = {r.name: r for r in (OnnxRuntime(), OpenVino(), Torch(), ExecuTorch(), Ncnn()) if find_spec(r.modules[0])}


@cache
def written(name: str) -> bytes:
    """A small network's file, of any runtime."""
    runtime = RUNTIMES[name]
    path = Path(mkdtemp()) / f"network{runtime.suffix}"
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2)).eval()
    runtime.convert(network, torch.randn(1, 1, 4, 4), path)
    return path.read_bytes()


def check(runtime: Runtime, content: bytes, folder: Path) -> None:
    """A file is measured, or refused in one line."""
    path = folder / f"strange{runtime.suffix}"
    path.write_bytes(content)
    target = Target(runtime)
    try:
        named = from_file(path, target, None, {})
        Latency(target, QUICK).run(named.path, named.feeds)
    except MeasureError as error:
        assert "\n" not in str(error) and "Traceback" not in str(error)


@settings(max_examples=60)
@given(st.data())
def test_damaged_onnx(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    check(RUNTIMES["onnxruntime"], data.draw(mutations(written("onnxruntime"))), tmp_path_factory.getbasetemp())


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNTIMES)
@settings(max_examples=600)
@given(st.data())
def test_damaged_often(tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject) -> None:
    check(RUNTIMES[name], data.draw(mutations(written(name))), tmp_path_factory.getbasetemp())


def model(shape: Any = (1, 3), nodes: Any = None, weights: Any = ()) -> Any:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes or [helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def elsewhere(location: str, **more: str) -> Any:
    """A model whose weights lie at a place."""
    tensor = numpy_helper.from_array(np.ones((1, 3), np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=value)
    return model(nodes=[helper.make_node("Add", ["x", "w"], ["y"])], weights=[tensor])


def huge() -> Any:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1 << 40], raw_data=b"1234")
    return model(nodes=[helper.make_node("Add", ["x", "w"], ["y"])], weights=[tensor])


STRANGE = {
    "an input of petabytes": (lambda: model((1 << 40, 3)), "takes x of 1099511627776x3: more than 4 GiB"),
    "an input that wraps": (lambda: model((1 << 32, 1 << 32)), "more than 4 GiB"),
    "too many dimensions": (lambda: model((1,) * 40), "or 32 dimensions"),
    "weights that are not there": (huge, "onnxruntime cannot load"),
    "a circle": (
        lambda: model(nodes=[helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Relu", ["a"], ["b"])]),
        "onnxruntime cannot load",
    ),
    "weights above": (lambda: elsewhere("../w.bin"), "not in its own folder"),
    "weights anywhere": (lambda: elsewhere("/etc/passwd"), "not in its own folder"),
    "weights behind a link": (lambda: elsewhere("link"), "a link to a file elsewhere"),
    "weights in a pipe": (lambda: elsewhere("pipe"), "which is not there"),
    "weights beyond the end": (lambda: elsewhere("w.bin", offset="1000000"), "onnxruntime cannot load"),
    "an operator of nobody": (lambda: model(nodes=[helper.make_node("Run", ["x"], ["y"])]), "cannot load"),
}


def strange(case: str, folder: Path) -> Path:
    """A strange file, and beside it what it may want."""
    (folder / "w.bin").write_bytes(bytes(12))
    (folder / "link").symlink_to("/etc/passwd")
    os.mkfifo(folder / "pipe")
    (folder / "n.onnx").write_bytes(STRANGE[case][0]().SerializeToString())
    return folder / "n.onnx"


@pytest.mark.parametrize("case", STRANGE)
def test_strange_onnx(case: str, tmp_path: Path) -> None:
    with pytest.raises(MeasureError, match=STRANGE[case][1]):
        from_file(strange(case, tmp_path), Target(OnnxRuntime()), None, {})


@pytest.mark.parametrize("case", ["weights above", "weights anywhere", "weights behind a link", "weights in a pipe"])
def test_what_is_not_measured_is_not_opened_to_be_explained(case: str, tmp_path: Path) -> None:
    with pytest.raises(MeasureError, match=STRANGE[case][1]):
        nw.explain(strange(case, tmp_path), "onnxruntime,precision=int8")


def test_weights_that_are_linked_together_are_read(tmp_path: Path) -> None:
    """As in the cache of a hub, where all files are links to one folder."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "shown").mkdir()
    onnx.save(elsewhere("w.bin"), tmp_path / "blobs" / "n.onnx")
    (tmp_path / "blobs" / "w.bin").write_bytes(np.ones(3, np.float32).tobytes())
    for name in ("n.onnx", "w.bin"):
        (tmp_path / "shown" / name).symlink_to(tmp_path / "blobs" / name)
    assert from_file(tmp_path / "shown" / "n.onnx", Target(OnnxRuntime()), None, {}).feeds["x"].shape == (1, 3)


def test_weights_beside_it_are_a_file(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed")
    (tmp_path / "n.xml").write_text("<net/>")
    os.mkfifo(tmp_path / "n.bin")
    with pytest.raises(MeasureError, match=r"n\.bin cannot be read: .*no regular file"):
        from_file(tmp_path / "n.xml", Target(OpenVino()), None, {})
    with pytest.raises(MeasureError, match=r"n\.bin cannot be read: .*no regular file"):
        nw.explain(tmp_path / "n.xml", "openvino,precision=int8")
