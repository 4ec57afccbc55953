"""Files in several parts: all of them count, and all of them go along."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import netwright as nw
from netwright.core.errors import MeasureError
from netwright.measure.convert import converted
from netwright.measure.parts import bytes_of, parts_of
from netwright.measure.runtimes.base import Runtime
from netwright.measure.sampling import SamplingPlan


def apart(folder: Path, several: bool, name: str = "n") -> Path:
    """An ONNX file that adds two tensors, whose numbers lie beside it; one of them inside a branch of an ``If``."""
    one = numpy_helper.from_array(np.ones((1, 300), np.float32), "one")
    two = numpy_helper.from_array(np.full((1, 300), 2, np.float32), "two")
    yes = numpy_helper.from_array(np.array(True), "yes")
    out = helper.make_tensor_value_info("t", TensorProto.FLOAT, [1, 300])
    then = helper.make_graph([helper.make_node("Identity", ["two"], ["t"])], "then", [], [out], [two])
    other = helper.make_graph([helper.make_node("Identity", ["one"], ["t"])], "else", [], [out])
    nodes = [
        helper.make_node("If", ["yes"], ["b"], then_branch=then, else_branch=other),
        helper.make_node("Add", ["x", "b"], ["s"]),
        helper.make_node("Add", ["s", "one"], ["y"]),
    ]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["b", 300]) for n in ("x", "y"))
    graph = helper.make_graph(nodes, "g", [x], [y], [one, yes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.onnx"
    onnx.save(
        model, path, save_as_external_data=True, all_tensors_to_one_file=not several,
        location=None if several else "w.bin", size_threshold=100,
    )  # fmt: skip
    return path


@pytest.mark.parametrize("several", [False, True])
def test_weights_beside_an_onnx_file_count(several: bool, tmp_path: Path) -> None:
    path = apart(tmp_path, several)
    (tmp_path / "other.bin").write_bytes(b"not of this file")
    parts = parts_of(path)
    assert parts[".onnx"] == path and next(iter(parts)) == ".onnx"
    beside = {p for p in tmp_path.iterdir() if p not in (path, tmp_path / "other.bin")}
    assert set(parts.values()) == {path, *beside} and len(beside) == (2 if several else 1)
    assert bytes_of(parts) > 2400 + path.stat().st_size - 1
    if not several:
        found = nw.Latency("onnxruntime", SamplingPlan(precision=0.5, max_seconds=0.02, repeats=0)).run(
            path, {"x": np.zeros((1, 300), np.float32)}, [np.full((1, 300), 3, np.float32)]
        )
        assert found["file_bytes"].value == bytes_of(parts)


def test_an_ordinary_file_is_one() -> None:
    assert list(parts_of(Path(__file__))) == [".py"]


def test_files_of_one_name_belong_together(tmp_path: Path) -> None:
    for name in ("a.xml", "a.bin", "b.xml"):
        (tmp_path / name).write_text(name)
    assert parts_of(tmp_path / "a.xml", (".bin",)) == {".xml": tmp_path / "a.xml", ".bin": tmp_path / "a.bin"}
    assert list(parts_of(tmp_path / "b.xml", (".bin",))) == [".xml"]


def test_a_part_that_is_missing_or_elsewhere_is_told(tmp_path: Path) -> None:
    path = apart(tmp_path / "in", False)
    (tmp_path / "in" / "w.bin").unlink()
    with pytest.raises(MeasureError, match=r"keeps weights in 'w\.bin', which is not there"):
        parts_of(path)
    for place in ("../w.bin", "/etc/passwd", "a/../../w.bin", "..\\w.bin"):
        model = onnx.load(path, load_external_data=False)
        for entry in model.graph.initializer[0].external_data:
            entry.value = place if entry.key == "location" else entry.value
        (tmp_path / "in" / "bad.onnx").write_bytes(model.SerializeToString())
        with pytest.raises(MeasureError, match="not in its own folder"):
            parts_of(tmp_path / "in" / "bad.onnx")


@pytest.mark.parametrize("content", [b"", b"location", b"\xff\x00 location \x08"])
def test_what_is_no_onnx_file_has_no_parts(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(content)
    assert list(parts_of(tmp_path / "x.onnx")) == [".onnx"]


class Apart(Runtime):
    """Converts everything to the same file in parts."""

    name, packages, modules, suffix, reads = "apart", (), (), ".onnx", (".onnx",)

    def convert(self, network: Any, inputs: Any, path: Path, calibration: Any = None) -> Mapping[str, Any]:
        apart(path.parent, True, path.stem)
        return {"how": "apart"}

    def open(self, path: Path, feeds: Any) -> Any:
        raise AssertionError("not opened here")


def test_a_converted_file_is_kept_with_its_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETWRIGHT_CACHE", str(tmp_path / "cache"))
    network, inputs = nn.Linear(2, 2).eval(), torch.zeros(1, 2)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert converted(Apart(), network, inputs, tmp_path / "a" / "first.onnx") == {"how": "apart"}
    how = converted(Apart(), network, inputs, tmp_path / "b" / "again.onnx")
    assert how == {"how": "apart", "cached": True}
    first, again = parts_of(tmp_path / "a" / "first.onnx"), parts_of(tmp_path / "b" / "again.onnx")
    assert [p.read_bytes() for p in first.values()] == [p.read_bytes() for p in again.values()] and len(first) == 3
    next(
        p for p in (tmp_path / "cache" / "converted").rglob("*") if p.name in first
    ).unlink()  # a cache that is damaged
    assert converted(Apart(), network, inputs, tmp_path / "b" / "third.onnx") == {"how": "apart"}
