"""The whole job for a target of low precision: its own file is what is judged, named and handed back."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from cli.running import TINY, done, records

TARGET = "onnxruntime,precision=int8,form=u8u8"  # exact on every CPU
FILE = "onnxruntime-int8.onnx"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("lossy") / "out"
    done("fit", TINY, "--target", TARGET, "--evaluations", 4, "--export.epochs", 0, "--out", out)
    return out


def right(file: Path, test: Path) -> int:
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    (name,) = (each.name for each in session.get_inputs())
    with np.load(test) as held:
        found = [session.run(None, {name: each[None]})[0].argmax(1)[0] for each in held["inputs"]]
        return int((np.array(found) == held["labels"]).sum())


def test_the_manifest_has_the_accuracy_of_the_targets_file_to_the_example(out: Path) -> None:
    manifests = list(out.glob("networks/*/manifest.json"))
    assert manifests
    for path in manifests:
        about = json.loads(path.read_text())
        assert FILE in about["files"] and about["target"]["suited"]["why"].startswith("u8u8 as asked for")
        for name, file in (("accuracy", FILE), ("accuracy_float32", "model.onnx")):
            told = about["test"][name]
            assert told["value"] == 100 * (right(path.with_name(file), out / "test.npz") / told["n"])
        assert "real inputs" in about["test"]["latency"]["compared_on"]
        validation = about["validation"]
        assert {"accuracy", "accuracy_float32"} <= validation.keys() and "failed" not in about
        assert 0 < validation["outputs_difference"]["value"] < 0.3 and validation["same_answers"]["value"] > 90
        assert abs(validation["confidence_change"]["value"]) < 10


def test_the_search_has_the_accuracy_of_the_same_file(out: Path) -> None:
    found = {r["id"]: r for r in records(out)}
    for path in out.glob("networks/*/manifest.json"):
        about = json.loads(path.read_text())
        assert about["validation"]["accuracy"]["value"] == found[about["id"]]["measurements"]["accuracy"]["value"]
        assert found[about["id"]]["provenance"]["target"]["form"] == "u8u8"


def test_the_readme_names_the_file_and_runs_it(out: Path) -> None:
    path = next(out.glob("networks/*/manifest.json"))
    about, text = json.loads(path.read_text()), path.with_name("README.md").read_text()
    assert f"`{FILE}` is what the target `{TARGET}` runs" in text
    snippet = re.findall(r"```python\n(.*?)```", text, re.S)[0]
    assert FILE in snippet
    run = subprocess.run([sys.executable, "-c", snippet], cwd=path.parent, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert float(run.stdout.split(":")[1]) * 100 == pytest.approx(about["test"]["accuracy"]["value"])
