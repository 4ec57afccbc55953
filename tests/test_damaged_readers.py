"""Small files that netwright, or somebody else, has written, and that are something else by now: each of their readers
takes what it can, or says in its own words that it cannot; tests of the larger ones are beside them.

What netwright keeps for itself, in its cache, is found anew where it cannot be read: these readers raise nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fuzz import mutations, swaps
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

import netwright as nw
from netwright.core.errors import NetwrightError
from netwright.core.metric import Measurement
from netwright.measure.baseline import BaselineStore
from netwright.measure.targets import Target
from netwright.pipeline import block_order, limits, space
from netwright.pipeline.run_directory import RunDirectory
from netwright.tasks.files.tables import read_columns

Reader = Callable[[Path], Any]


def _given(path: Path) -> Any:
    return limits._read(SimpleNamespace(run=SimpleNamespace(given=path)))  # type: ignore[arg-type]


def _blocks(path: Path) -> Any:
    run = RunDirectory(path.parent)
    run.blocks = path
    return block_order._read(run)


class _Suits(nw.targets.OnnxRuntime):
    """A runtime that leaves nothing to the device."""

    def suited(self, trial: Any) -> tuple[Any, dict[str, Any]]:
        return self, {}


def _suited(path: Path) -> Any:
    target = Target(_Suits())
    target.__dict__["_told"] = {"target": {}, "netwright": ""}
    return target.suited


def _bundle(path: Path) -> Any:
    space = nw.Space([nw.Choice("width", (4, 8)), nw.Choice("shape", ((1, 1), (2, 2)))])
    net = SimpleNamespace(space=space, extract=lambda candidate: torch.nn.Linear(4, candidate["width"]))
    save_file({"weight": torch.zeros(8, 4), "bias": torch.zeros(8)}, path.parent / "weights.safetensors")
    return nw.load(path.parent, net)


LAYER = {
    "path": "a.b", "kind": "Conv2d", "bits": 8, "float_ms": 1.5, "ms": 1.0, "conversions_ms": 0.1, "runs_in": "int8",
    "operators": ["conv"],
}  # fmt: skip
READERS: dict[str, tuple[Any, Reader]] = {
    "given.json": ({"key": "k", "measurements": {"accuracy": Measurement(0.9, n=100).to_json()}}, _given),
    "blocks.json": ({"depth": ["a", "b"]}, _blocks),
    "manifest.json": ({"candidate": {"width": 8, "shape": [2, 2]}, "files": {}}, _bundle),
    "rows.jsonl": ({"a": 1, "words": ["x", "y"], "label": "cat"}, read_columns),
}
CACHES: dict[str, tuple[Any, Reader]] = {
    "baseline.json": ([[1.7e9 + i, 2.0, 3.0] for i in range(12)], lambda path: BaselineStore(path=path).get()),
    "layers.json": ({"target": "t", "networks": {"k": [LAYER]}}, lambda path: space._read_layers(path, "t")),
    "suited.json": ({"runtime": {"runtime": "onnxruntime", "threads": 1}, "found": {"a": 1}}, _suited),
}


@pytest.mark.parametrize("name", [*READERS, *CACHES])
def test_what_is_written_is_read(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content, reader = (READERS | CACHES)[name]
    check(
        tmp_path / name,
        json.dumps(content).encode(),
        reader,
        monkeypatch,
        strict=name not in ("tiny.json", "manifest.json"),
    )


@pytest.mark.parametrize("name", [*READERS, *CACHES])
def test_whatever_it_holds_is_used_or_told(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fuzz(name, 60, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*READERS, *CACHES])
def test_whatever_it_holds_is_used_or_told_whole(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fuzz(name, 2000, tmp_path, monkeypatch)


def fuzz(name: str, times: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content, reader = (READERS | CACHES)[name]

    @settings(max_examples=times, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.one_of(swaps(content), mutations(json.dumps(content).encode())))
    def one(changed: bytes) -> None:
        check(folder / name, changed, reader, monkeypatch, strict=name in CACHES)

    one()


def check(path: Path, content: bytes, reader: Reader, monkeypatch: pytest.MonkeyPatch, strict: bool) -> None:
    """Have a file read; where that is strict, nothing is raised."""
    path.write_bytes(content)
    with monkeypatch.context() as patched:
        patched.setattr(limits, "_key", lambda context: "k")
        patched.setattr("netwright.measure.targets.cache_folder", lambda: path.parent)
        patched.setattr("netwright.measure.targets.digest", lambda told: "../suited")
        (path.parent / "suited").mkdir(exist_ok=True)
        try:
            reader(path)
        except NetwrightError as error:
            assert not strict and len(str(error)) < 3000
