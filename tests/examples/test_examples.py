"""The recipes under ``examples/``, in short form: from data to exported files, and what is said of them."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from cli.running import done

import netwright as nw
from netwright.core.errors import BundleError
from netwright.formats import bundle

ROOT = Path(__file__).parents[2]
Arrays = Mapping[str, np.ndarray]


def accuracy(outputs: Arrays, test: Arrays) -> dict[str, float]:
    return {"accuracy": 100 * (outputs["output"].argmax(1) == test["labels"]).mean()}


def errors(outputs: Arrays, test: Arrays) -> dict[str, float]:
    wanted = test["labels"]
    error = outputs["output"].astype(float) - wanted
    spread = ((wanted - wanted.astype(float).mean()) ** 2).sum()
    return {"mae": abs(error).mean(), "rmse": np.sqrt((error**2).mean()), "r2": 1 - (error**2).sum() / spread}


def tags(outputs: Arrays, test: Arrays) -> dict[str, float]:
    counted = test["labels"] >= 0
    answers, wanted = outputs["output"].argmax(-1)[counted], test["labels"][counted]
    table = np.zeros((4, 4))
    np.add.at(table, (wanted, answers), 1)
    shares = [2 * table[c, c] / (table[c].sum() + table[:, c].sum()) for c in range(4)]
    return {"accuracy": 100 * np.trace(table) / table.sum(), "f1": 100 * float(np.mean(shares))}


def next_bytes(outputs: Arrays, test: Arrays) -> dict[str, float]:
    scores, wanted = outputs["output"][:, :-1].astype(float), test["labels"][:, 1:]
    logs = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
    loss = -np.take_along_axis(logs, wanted[..., None], -1).mean()
    return {"loss": loss, "perplexity": np.exp(loss), "bits_per_byte": loss / np.log(2)}


def regions(outputs: Arrays, test: Arrays) -> dict[str, float]:
    answers, wanted = outputs["output"].argmax(1), test["labels"]
    masks = [(answers == c, wanted == c) for c in range(4)]
    return {
        "miou": 100 * float(np.mean([(a & b).sum() / (a | b).sum() for a, b in masks if (a | b).any()])),
        "accuracy": 100 * (answers == wanted).mean(),
    }


def pulses(outputs: Arrays, test: Arrays) -> dict[str, float]:
    return {
        "time_error": abs(outputs["time"].astype(float) - test["labels.time"]).mean(),
        "missed": 100 * (outputs["kind"].argmax(1) != test["labels.kind"]).mean(),
    }


@dataclass(frozen=True)
class Example:
    """What is known of an example.

    Args:
        module: its Python file.
        figures: every metric of its task, from the outputs of a file and the test data.
        axis: what the report's chart calls the first objective, with its unit.
        best: the role of the network that is best in it.
        flags: what makes it short, besides what is common to all.
    """

    module: str
    figures: Callable[[Arrays, Arrays], dict[str, float]]
    axis: str
    best: str
    flags: tuple[object, ...] = ()


EXAMPLES = {
    "image_classification": Example("digits_loader", accuracy, "accuracy (%)", "most accurate"),
    "regression": Example("diabetes", errors, "MAE (points)", "lowest MAE"),
    "tagging": Example("tagger", tags, "F1 (%)", "highest F1"),
    "language_model": Example("small_lm", next_bytes, "bits per byte", "lowest bits per byte"),
    "segmentation": Example("shapes", regions, "mIoU (%)", "highest mIoU"),
    "two_outputs": Example("pulses", pulses, "time error (ms)", "lowest time error", ("--limit", "missed <= 90 %")),
}
SHORT = ("--evaluations", 4, "--train.epochs", 1, "--export.epochs", 1, "--export.formats", "onnx")


@dataclass(frozen=True)
class Job:
    """A finished short run. Look, do not touch."""

    name: str
    example: Example
    out: Path

    @property
    def manifests(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        """The exported networks' directories and manifests."""
        found = sorted(self.out.glob("networks/*/manifest.json"))
        assert found
        return ((path.parent, json.loads(path.read_text())) for path in found)


@pytest.fixture(scope="module", params=EXAMPLES)
def job(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Job:
    example = EXAMPLES[request.param]
    out = tmp_path_factory.mktemp(request.param) / "out"
    done("fit", ROOT / "examples" / request.param / "recipe.yaml", "--out", out, *SHORT, *example.flags)
    return Job(request.param, example, out)


def run(folder: Path, test: Arrays) -> dict[str, np.ndarray]:
    """All outputs of an exported file by name, by ONNX Runtime alone."""
    session = ort.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    inputs = {n: test[f"inputs.{n}"] for n in names} if "inputs" not in test else {names[0]: test["inputs"]}
    return dict(zip([each.name for each in session.get_outputs()], session.run(None, inputs), strict=True))


def test_the_front_has_the_metrics_of_the_task(job: Job) -> None:
    front = json.loads((job.out / "front.json").read_text())
    test = np.load(job.out / "test.npz")
    metrics = job.example.figures(run(next(job.manifests)[0], test), test).keys()
    assert front
    for record in front:
        own = record["measurements"].keys() - {"macs", "params", "latency", "throughput", "file_bytes", "memory"}
        assert metrics <= own and ("accuracy" in own) == ("accuracy" in metrics)
        assert {"value", "unit", "spread", "n"} <= record["measurements"][next(iter(metrics))].keys()


def test_the_figures_of_the_test_part_are_those_of_the_file_alone(job: Job) -> None:
    test = np.load(job.out / "test.npz")
    for folder, about in job.manifests:
        for name, value in job.example.figures(run(folder, test), test).items():
            assert value == pytest.approx(about["test"][name]["value"], rel=1e-5), name


def test_the_test_part_is_the_untouched_one(job: Job) -> None:
    part = importlib.import_module(job.example.module).data().test
    pairs = [(part.inputs, part.targets)] if isinstance(part, nw.Split) else [split(batch) for batch in part]
    kept = np.load(job.out / "test.npz")
    for what, several in zip(("inputs", "labels"), zip(*pairs, strict=True), strict=True):
        given = [each if isinstance(each, dict) else {"": each} for each in several]
        for name in given[0]:
            whole = np.concatenate([each[name].numpy() for each in given])
            assert np.array_equal(kept[f"{what}.{name}" if name else what], whole)


def split(batch: Any) -> tuple[Any, Any]:
    """What is put in and what is compared with."""
    if not isinstance(batch, dict):
        return batch[0], batch[1]
    return {name: values for name, values in batch.items() if name != "labels"}, batch["labels"]


def test_the_script_of_the_readme_tells_the_figure(job: Job) -> None:
    folder, about = next(job.manifests)
    (script, *_) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S)
    told = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    assert "netwright" not in script and "torch" not in script
    figures = dict(re.findall(r"^test (\w+): (\S+)", told.stdout, re.M))
    first = about["recipe"]["objectives"][0]
    found = about["test"][first]
    scale = 100 if found["unit"] == "%" else 1  # shares
    assert scale * float(figures[first]) == pytest.approx(found["value"], rel=1e-4)


def test_the_report_speaks_of_the_task(job: Job) -> None:
    page = (job.out / "report.html").read_text()
    text = re.sub(r"<script>(?!window|\s*window)[^<]*plotly\.js v.*?</script>", "", page, count=1, flags=re.S)
    assert len(text) < 500_000 < len(page)
    assert f'"text":"{job.example.axis}"' in text and job.example.best in text
    assert re.search(rf"<p class=\"title\">{job.name}</p>", text)
    figures = job.example.figures.__name__
    assert ("accuracy" in text.lower()) == (figures in ("accuracy", "tags", "regions"))
    assert "image" not in text.lower() or job.name == "image_classification"


def test_every_output_of_a_file_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose second output is off by a hair is not handed back."""
    monkeypatch.syspath_prepend(str(ROOT / "examples" / "two_outputs"))
    net = importlib.import_module("pulses").supernet()
    network, read_back = net.extract(net.smallest), bundle.read_back

    def off(*arguments: Any) -> Any:
        found = read_back(*arguments)
        for outputs in found["onnx"]:
            outputs[1] = outputs[1] * 1.001
        return found

    assert set(nw.export(network, tmp_path / "right", ["onnx"]).files) == {"model.onnx"}
    monkeypatch.setattr(bundle, "read_back", off)
    with pytest.raises(BundleError, match=r"model\.onnx differs from PyTorch"):
        nw.export(network, tmp_path / "wrong", ["onnx"])
    assert not (tmp_path / "wrong" / "manifest.json").exists()
