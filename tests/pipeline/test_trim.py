"""Trimming as a job: from a recipe with limits to files, and what it says where that does not go."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import netwright as nw
from netwright.cli.main import main
from netwright.core.errors import NetwrightError, RecipeError
from netwright.core.limits import parse_limit
from netwright.pipeline.callback import Callback
from netwright.pipeline.run_directory import RunDirectory
from netwright.pipeline.trim import _tightened, trim

MODULE = "test_trim"


def supernet(net: nn.Sequential | None = None) -> nw.SuperNet:
    net = net or nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1))
    return nw.SuperNet(net, [nw.Width.tie(net, "width", (4, 8, 12, 16), out_of=["0"], into=["2"])], torch.zeros(1, 6))


def solved() -> nw.SuperNet:
    """It gives the sum of its inputs, which is what is to be learned, with the last twelve of sixteen channels."""
    net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1))
    for tensor in net.parameters():
        nn.init.zeros_(tensor)
    with torch.no_grad():
        net[0].weight[4:] = torch.cat([torch.eye(6), -torch.eye(6)])
        net[2].weight[0, 4:] = torch.tensor([1.0] * 6 + [-1.0] * 6)
    return supernet(net)


class Clock(nw.Measurer):
    """A latency that knows no machine: 1 ms a channel."""

    metrics = (nw.Metric("latency", "ms"),)

    def measure(self, context: Any) -> Mapping[str, nw.Measurement]:
        return {"latency": nw.Measurement(float(context.candidate["width"]), "ms")}


def timed() -> nw.SuperNet:
    net = solved()
    net.measurers = [Clock()]  # type: ignore[attr-defined]
    return net


def timed_by_one() -> nw.SuperNet:
    net = solved()
    net.measurers = Clock()  # type: ignore[attr-defined]
    return net


def mistimed() -> nw.SuperNet:
    net = solved()
    net.measurers = ["latency"]  # type: ignore[attr-defined]
    return net


def data() -> nw.Data:
    x = torch.randn(96, 6, generator=torch.Generator().manual_seed(0))
    y = x.sum(1, keepdim=True)
    return nw.Data(nw.Split(x[:64], y[:64]), nw.Split(x[64:80], y[64:80]), nw.Split(x[80:], y[80:]))


def recipe(model: str = "solved", **changes: Any) -> dict[str, Any]:
    return {
        "model": f"{MODULE}:{model}", "data": f"{MODULE}:data", "task": "regression", "objectives": ["mae", "macs"],
        "limits": ["macs <= 84"], "train": {"batch_size": 16}, "latency": {"max_seconds": 0.01},
        "export": {"epochs": 0, "formats": ["safetensors"]}, "report": {"sections": ["front"]},
    } | changes  # fmt: skip


def test_the_network_keeps_the_limit_and_what_matters(tmp_path: Path) -> None:
    done = trim(recipe(), tmp_path / "out")
    assert done.network.record.candidate["width"] == 12 and done.after["macs"].value == 84
    assert done.before["macs"].value == 112 and done.after["mae"].value < 1e-4 and done.before["mae"].value < 1e-4
    manifest = json.loads((done.folder / "manifest.json").read_text())
    assert manifest["candidate"] == {"width": 12} and {"model.onnx", "weights.safetensors"} <= set(manifest["files"])
    assert done.report.exists() and RunDirectory(tmp_path / "out").read_training() is not None
    for name in ("latency", "file_bytes", "macs", "params", "mae"):
        assert name in done.before and name in done.after
    again = trim(recipe(limits=["params <= 70"]), tmp_path / "out")  # other limits, the same weights
    assert again.network.record.candidate["width"] == 8


def test_without_data_by_the_weights(tmp_path: Path) -> None:
    wish = recipe(objectives=["macs"])
    del wish["data"]
    done = trim(wish, tmp_path / "out")
    (width,) = done.network.record.candidate.values()
    weights = nw.load(done.folder, supernet()).state_dict()["0.weight"]
    assert width == 12 and (weights.abs().sum(1) > 0).all(), "the four channels without weights are gone"


def test_a_super_network_brings_its_own_measurers(tmp_path: Path) -> None:
    for model in ("timed", "timed_by_one"):
        done = trim(recipe(model, objectives=["mae", "latency"], limits=["latency <= 9 ms"]), tmp_path / model)
        assert done.network.record.candidate["width"] == 8 and done.network.record.values["latency"] == 8
    with pytest.raises(RecipeError, match=r"the measurers of test_trim:mistimed must be netwright\.Measurer, not str"):
        trim(recipe("mistimed"), tmp_path / "other")


def test_in_rounds_with_tuning(tmp_path: Path) -> None:
    wish = recipe(trim={"rounds": 2, "proposals": 2, "batches": 2}, limits=["macs <= 60"])
    done = trim(wish, tmp_path / "out")
    assert done.network.record.candidate["width"] == 8
    again = trim(wish, tmp_path / "out")
    assert again.network.id == done.network.id and again.after["mae"].value == done.after["mae"].value


def test_a_table_in_a_recipe_predicts_and_what_is_handed_back_is_measured(tmp_path: Path) -> None:
    table = tmp_path / "table.json"
    wish = recipe(objectives=["mae", "latency"], limits=[], latency={"max_seconds": 0.01, "table": str(table)})
    wish["model"], wish["evaluations"], wish["train"] = f"{MODULE}:wide", 4, {"epochs": 0}
    fitted = nw.fit(wish, tmp_path / "out")
    assert {r.measurements["latency"].kind for r in fitted.records} == {"predicted"}
    assert all(r.measurements["latency"].is_complete for r in fitted.records) and fitted.front
    assert {n.test["latency"].kind for n in fitted.networks} <= {"measured", "corrected"}
    assert len(json.loads(table.read_text())["whole"]) == 8


def test_trimming_measures_the_table_of_the_recipe(tmp_path: Path) -> None:
    table = tmp_path / "table.json"
    limits = ["latency <= 1000 ms", "macs <= 84"]
    wish = recipe(
        "wide", objectives=["mae", "latency"], limits=limits, latency={"max_seconds": 0.01, "table": str(table)}
    )
    done = trim(wish, tmp_path / "out")
    assert done.network.record.candidate["width"] == 12 and len(json.loads(table.read_text())["whole"]) == 8
    assert done.network.record.measurements["latency"].kind == "predicted"
    assert not (tmp_path / "out" / "latency_table.json").exists()


def wide() -> nw.SuperNet:
    net = solved().module
    return nw.SuperNet(net, [nw.Width.tie(net, "width", range(2, 17, 2), out_of=["0"], into=["2"])], torch.zeros(1, 6))


class Slow:
    """A table's measurer on a device that needs ten times as long as the table says."""

    metrics = (nw.Metric("latency", "ms"),)

    def measure(self, context: Any) -> Mapping[str, nw.Measurement]:
        return {"latency": nw.Measurement(100.0, "ms")}


class Wrong:
    """What :func:`_tightened` asks of a table."""

    metric, measurer = nw.Metric("latency", "ms"), Slow()

    def values(self, net: Any, candidates: Any) -> list[dict[str, float]]:
        return [{"latency": 10.0}]


class Told(Callback):
    def __init__(self) -> None:
        self.said: list[str] = []

    def stage(self, text: str) -> None:
        self.said.append(text)


@pytest.mark.parametrize("left", [0, 1])
def test_cutting_on_is_said_only_where_it_is_done(left: int) -> None:
    net, callback = solved(), Told()
    context: Any = SimpleNamespace(source=SimpleNamespace(net=net), callback=callback)
    limit = parse_limit("latency <= 20 ms", Wrong.measurer.metrics)
    tables: Any = [Wrong()]
    tighter = _tightened(context, limit, limit, net.largest, tables, left)
    assert tighter.bound == pytest.approx(0.995 * 10 * 20 / 100)
    assert ("cutting on" in callback.said[0]) == bool(left) and "the limit is 20 ms" in callback.said[0]


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"limits": []}, "trimming needs a limit to keep, such as --limit 'macs <= 30M'"),
        ({"model": f"{MODULE}:supernet"}, r"the model comes untrained \(mae .*run 'netwright train' .*--train.weights"),
        ({"limits": ["mae <= 1"]}, r"the limit 'mae <= 1': mae is not known before a network is made; .*macs, params"),
        ({"limits": ["macs <= 7"]}, r"macs <= 7 cannot be kept: the nearest is 28, with width at 4; .*holds most"),
        ({"limits": ["file_bytes <= 1 kB"]}, "file_bytes is not known before a network is made"),
        ({"limits": ["macs >= 7"]}, "an upper bound above 0"),
        ({"model": "nothing:there", "data": "", "trim": {"rounds": 2}}, "trim.rounds tunes and judges, .* takes data"),
        ({"limits": ["mac <= 7"]}, "unknown metric; did you mean 'macs'"),
    ],
)
def test_what_cannot_be_trimmed_is_told(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(NetwrightError, match=words):
        trim({**recipe(), **changes}, tmp_path / "out")


def test_a_model_may_be_named_alone(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    less = ["--latency.max_seconds", "0.01", "--export.epochs", "0", "--export.formats", "onnx"]
    main(["trim", f"{MODULE}:solved", "--limit", "macs <= 84", *less])
    said = capsys.readouterr()
    assert f"exported: runs/{MODULE}-solved-trim/networks/" in said.out and "cutting by l2" in said.err
    with pytest.raises(SystemExit):
        main(["trim", f"{MODULE}:plain", "--limit", "macs <= 84"])
    assert "give what it returns an attribute example_inputs" in capsys.readouterr().err


def plain() -> nn.Module:
    return nn.Linear(2, 2)


def test_the_command_says_before_and_after(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(json.dumps(recipe()))
    main(["trim", "small.yaml", "--limit", "macs <= 60", "--out", "out"])
    said = capsys.readouterr()
    rows = {line.split()[0]: line.split() for line in said.out.splitlines() if line.strip()}
    assert rows["MACs"][1:] == ["112", "56", "-50%"] and "latency" in rows and "MAE" in rows
    assert rows["exported:"][1].startswith("out/networks/") and "cutting by taylor" in said.err
