"""The whole job on the built-in example: what it leaves behind is a contract that other tools read."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from cli.running import TINY, contents, done, records, timeless
from safetensors.torch import load_file

from netwright.formats.bundle import run_onnx
from netwright.nets.state import load_state
from netwright.recipes.digits import data, supernet

EXAMPLES = Path(__file__).parents[2] / "examples"
DIGITS = ("fit", "digits", "--train.epochs", 1, "--evaluations", 10, "--export.epochs", 0)


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    """The output directory of a short ``netwright fit digits``. Look, do not touch."""
    out = tmp_path_factory.mktemp("digits") / "out"
    done(*DIGITS, "--out", out)
    return out


@pytest.fixture(scope="module")
def networks(out) -> dict[Path, dict]:
    """The exported networks' directories and manifests."""
    return {p.parent: json.loads(p.read_text()) for p in sorted(out.glob("networks/*/manifest.json"))}


def python(code: str, cwd: Path, *arguments: object) -> str:
    run = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], cwd=cwd, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


# -- the directory


def test_the_directory_holds_what_it_promises(out, networks):
    for name in ("study.db", "front.json", "report.html", "test.npz", "supernet/weights.safetensors",
                 "supernet/manifest.json"):  # fmt: skip
        assert (out / name).stat().st_size > 100, name
    assert networks
    for folder in networks:
        assert {p.name for p in folder.iterdir()} == {
            "model.onnx", "model.pt2", "weights.safetensors", "manifest.json", "README.md"}  # fmt: skip
    left = [p.name for p in out.rglob("*") if p.name.startswith(".") and p.name != ".lock"]
    assert not left  # no half-written files


def test_the_test_part_is_the_untouched_one(out):
    kept, test = np.load(out / "test.npz"), data().test
    assert np.array_equal(kept["inputs"], test.inputs.numpy()) and np.array_equal(kept["labels"], test.targets.numpy())
    assert len(kept["labels"]) == 360


def test_manifests_are_whole(out, networks):
    known = {r["id"]: r for r in records(out)}
    for folder, about in networks.items():
        record = known[folder.name]
        assert about["id"] == folder.name and about["role"] and about["seed"] == 0 and about["status"] == "ok"
        assert about["candidate"] == record["candidate"] and about["measurements"] == record["measurements"]
        assert {"accuracy", "latency", "file_bytes"} <= about["test"].keys() and "accuracy" in about["validation"]
        assert about["target"]["runtime"] == "onnxruntime" and about["target"]["fingerprint"]
        assert {"python", "torch", "onnxruntime", "netwright"} <= about["versions"].keys()
        assert about["recipe"]["evaluations"] == 10 and "git" in about
        assert all(difference <= 1e-4 for difference in about["differences"].values())
        assert about["test"]["accuracy"]["n"] == 360 and about["test"]["latency"]["value"] > 0


def test_hashes(out, networks):
    pairs = [(out / "supernet", json.loads((out / "supernet" / "manifest.json").read_text())), *networks.items()]
    for folder, about in pairs:
        binary = {p.name for p in folder.iterdir() if p.suffix in (".onnx", ".pt2", ".safetensors")}
        assert about["files"].keys() == binary
        for name, entry in about["files"].items():
            content = (folder / name).read_bytes()
            assert entry == {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def test_the_front_is_mutually_non_dominated(out):
    front = json.loads((out / "front.json").read_text())
    values = [(-r["measurements"]["accuracy"]["value"], r["measurements"]["latency"]["value"]) for r in front]
    assert len(values) > 1 and values == sorted(values)
    everyone = [
        (-r["measurements"]["accuracy"]["value"], r["measurements"]["latency"]["value"])
        for r in records(out)
        if r["status"] == "ok"
    ]
    for a in values:
        assert not any(b[0] <= a[0] and b[1] <= a[1] and b != a for b in everyone)


def test_the_page_is_self_contained(out, networks):
    page = (out / "report.html").read_text()
    assert not re.findall(r"""<(?:script|link|img)[^>]+(?:src|href)=(?!["']?data:)""", page)
    for folder in networks:
        assert folder.name in page


# -- files that run without netwright


def test_onnx_runtime_alone_reproduces_the_test_accuracy(networks):
    code = """
import json, sys
import numpy as np, onnxruntime as ort
session = ort.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
test = np.load("../../test.npz")
scores = session.run(None, {session.get_inputs()[0].name: test["inputs"]})[0]
right = int((scores.argmax(1) == test["labels"]).sum())
assert not {"netwright", "torch"} & set(sys.modules)
assert 100.0 * (right / len(test["labels"])) == json.load(open("manifest.json"))["test"]["accuracy"]["value"]
one = session.run(None, {session.get_inputs()[0].name: test["inputs"][:1]})[0]
assert abs(one - scores[:1]).max() < 1e-4
"""
    for folder in networks:
        python(code, folder)


def test_the_snippets_of_the_readme_run(networks):
    folder, about = next(iter(networks.items()))
    snippets = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S)
    assert len(snippets) == 2 and not any("netwright" in s for s in snippets)
    told = python(snippets[0], folder)
    assert float(told.split(":")[1]) * 100 == pytest.approx(about["test"]["accuracy"]["value"])
    check = (
        "import numpy as np\nx = torch.from_numpy(np.load('../../test.npz')['inputs'])\nprint(tuple(network(x).shape))"
    )
    assert python(f"{snippets[1]}\n{check}", folder).strip() == "(360, 10)"


def test_torch_export_computes_what_onnx_does(networks):
    inputs = data().test.inputs
    for folder in networks:
        scores = torch.export.load(folder / "model.pt2").module()(inputs).detach().numpy()
        reference = run_onnx(folder / "model.onnx", inputs)
        assert np.abs(scores - reference).max() <= 1e-4 * max(1.0, np.abs(reference).max())


def test_the_weights_fit_the_extracted_network(networks):
    net, inputs = supernet(), data().test.inputs
    for folder, about in networks.items():
        network = net.extract(net.space.candidate(about["candidate"]))
        load_state(network, load_file(folder / "weights.safetensors"), folder)
        with torch.no_grad():
            scores = network.eval()(inputs).numpy()
        reference = run_onnx(folder / "model.onnx", inputs)
        assert np.abs(scores - reference).max() <= 1e-4 * max(1.0, np.abs(reference).max())


# -- the same command again


def test_the_same_command_again_does_nothing_twice(out):
    files = [out / "study.db", *(out / "supernet").iterdir(), *out.glob("networks/*/*")]
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in files}
    done(*DIGITS, "--out", out)
    assert {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in files} == before


def test_a_larger_budget_goes_on(tmp_path):
    done("train", TINY, "--out", tmp_path)
    weights = (tmp_path / "supernet" / "weights.safetensors").stat().st_mtime_ns
    done("search", TINY, "--out", tmp_path, "--evaluations", 6)
    first = records(tmp_path)
    done("search", TINY, "--out", tmp_path, "--evaluations", 12)
    assert records(tmp_path)[:6] == first and len(records(tmp_path)) == 12
    assert (tmp_path / "supernet" / "weights.safetensors").stat().st_mtime_ns == weights


def test_two_runs_with_one_seed_are_the_same(tmp_path):
    for name in "ab":
        done("train", TINY, "--out", tmp_path / name)
    weights = [(tmp_path / name / "supernet" / "weights.safetensors").read_bytes() for name in "ab"]
    assert weights[0] == weights[1]
    for strategy in ("guided", "nsga2", "random"):
        for name in "ab":
            out = tmp_path / strategy / name
            shutil.copytree(tmp_path / name / "supernet", out / "supernet")
            done("search", TINY, "--out", out, "--search.strategy", strategy, "--evaluations", 18)
        a, b = (timeless(records(tmp_path / strategy / name)) for name in "ab")
        assert a == b


@pytest.mark.slow
def test_two_runs_on_the_digits_are_the_same(out, tmp_path):
    """With the objectives accuracy and macs."""
    flags = (*DIGITS[1:], "--objectives", "accuracy,macs", "--evaluations", 5)
    done("train", *flags, "--out", tmp_path / "a")
    shutil.copytree(out / "supernet", tmp_path / "b" / "supernet")
    name = "supernet/weights.safetensors"
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    for which in "ab":
        done("search", *flags, "--out", tmp_path / which)
    assert timeless(records(tmp_path / "a")) == timeless(records(tmp_path / "b"))


# -- examples


def test_example_own_model(tmp_path):
    out = tmp_path / "own"
    done("fit", EXAMPLES / "own_model" / "my.yaml", "--out", out)
    found = contents(out)
    assert {"study.db", "front.json", "report.html", "test.npz"} <= found.keys()
    for manifest in out.glob("networks/*/manifest.json"):
        about = json.loads(manifest.read_text())
        assert about["test"]["accuracy"]["value"] >= (90 if "accurate" in about["role"] else 75)
        network = manifest.parent
        test = np.load(out / "test.npz")
        scores = run_onnx(network / "model.onnx", torch.from_numpy(test["inputs"]))
        assert 100 * (scores.argmax(1) == test["labels"]).mean() == pytest.approx(about["test"]["accuracy"]["value"])


def test_example_search_function():
    out = python((EXAMPLES / "search_function.py").read_text(), EXAMPLES)
    rows = [line.split() for line in out.splitlines()]
    assert len(rows) >= 3
    assert all(float(row[2]) <= 300 for row in rows)
    assert float(rows[0][0]) >= 90


def test_example_search_simulator():
    first, *rows = python((EXAMPLES / "search_simulator.py").read_text(), EXAMPLES).splitlines()
    simulated, failed = int(first.split()[0]), int(first.split()[4])
    assert simulated == 40 and 0 < failed < 40, "some candidates do not fit, and the search goes on"
    assert len(rows) >= 3 and all(float(row.split()[4]) <= 800 for row in rows)


def test_example_own_loop(tmp_path):
    run = subprocess.run(
        [sys.executable, EXAMPLES / "own_loop.py", tmp_path], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert "18 candidates" in run.stdout and "accuracy" in run.stdout
    assert (tmp_path / "my.db").is_file()
    assert {p.name for p in (tmp_path / "best").iterdir()} == {"model.onnx", "weights.safetensors", "manifest.json"}
