"""Limits relative to the given model: by its own figures, kept where the job goes on, said where nothing keeps them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import netwright as nw
from netwright.core.errors import InfeasibleConstraints, LimitError
from netwright.pipeline.callback import Callback
from netwright.pipeline.fit import fit
from netwright.pipeline.trim import trim

MODULE = "test_limits_of_jobs"


class Clock(nw.Measurer):
    """A latency that knows no machine: 1 ms a channel, and a little more each time that it is asked."""

    metrics = (nw.Metric("latency", "ms"),)
    asked = 0

    def measure(self, context: Any) -> Mapping[str, nw.Measurement]:
        Clock.asked += 1
        return {"latency": nw.Measurement(context.candidate["width"] + Clock.asked / 1e6, "ms")}


def fresh() -> nw.SuperNet:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1))
    width = nw.Width.tie(module, "width", (2, 4, 8, 12, 16), out_of=["0"], into=["2"])
    net = nw.SuperNet(module, [width], torch.zeros(1, 6))
    net.measurers = [Clock()]  # type: ignore[attr-defined]
    return net


def solved() -> nw.SuperNet:
    """It gives the sum of its inputs, which is what is to be learned."""
    net = fresh()
    with torch.no_grad():
        for tensor in net.module.parameters():
            tensor.zero_()
        net.module[0].weight[:12] = torch.cat([torch.eye(6), -torch.eye(6)])  # type: ignore[index, union-attr]
        net.module[2].weight[0, :12] = torch.tensor([1.0] * 6 + [-1.0] * 6)  # type: ignore[index, union-attr]
    return net


def sums() -> nw.Data:
    x = torch.randn(96, 6, generator=torch.Generator().manual_seed(0))
    return nw.Data(*[nw.Split(part, part.sum(1, keepdim=True)) for part in x.split(32)])


class Said(Callback):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def stage(self, text: str) -> None:
        self.lines.append(text)


def recipe(model: str, *limits: str, **keys: Any) -> dict[str, Any]:
    return {
        "model": f"{MODULE}:{model}", "data": f"{MODULE}:sums", "task": "regression", "limits": list(limits),
        "train": {"epochs": 3, "optimizer": "adamw,lr=1e-2", "teacher": "none", "keep": 100}, "evaluations": 5,
        "search": {"strategy": "random"}, "export": {"formats": ["onnx"], "epochs": 0}, **keys,
    }  # fmt: skip


def test_times_and_counts_are_those_of_the_given_model(tmp_path: Path) -> None:
    said = Said()
    done = fit(recipe("fresh", "latency <= 0.5x", "macs <= 0.8x"), tmp_path / "out", callback=said)
    assert {r.candidate["width"] for r in done.front} <= {2, 4, 8} and done.front
    assert any("the given model has latency 16 " in line and "'latency <= 0.5x'" in line for line in said.lines)
    kept = json.loads((tmp_path / "out" / "given.json").read_text())["measurements"]
    assert set(kept) == {"latency"}, "counts cost nothing, and are not kept"


def test_a_job_that_goes_on_has_the_same_limits(tmp_path: Path) -> None:
    fit(recipe("fresh", "latency <= 0.5x"), tmp_path / "out", overrides={"evaluations": 2})
    bound = json.loads((tmp_path / "out" / "given.json").read_text())["measurements"]["latency"]["value"]
    Clock.asked += 1_000_000  # the machine has become slower
    fit(recipe("fresh", "latency <= 0.5x"), tmp_path / "out", overrides={"evaluations": 5})
    assert json.loads((tmp_path / "out" / "given.json").read_text())["measurements"]["latency"]["value"] == bound
    Clock.asked = 0


def test_quality_is_that_of_the_given_model_where_it_comes_trained(tmp_path: Path) -> None:
    fit(recipe("solved", "rmse <= 1.5x", train={"epochs": 0}), tmp_path / "out")
    kept = json.loads((tmp_path / "out" / "given.json").read_text())["measurements"]
    assert kept["rmse"]["value"] < 1e-5, "that of the model as it was given, which is perfect"


def test_of_one_that_comes_untrained_it_is_that_of_the_largest_once_trained(tmp_path: Path) -> None:
    said = Said()
    done = fit(recipe("fresh", "rmse <= 1.5x"), tmp_path / "out", callback=said)
    trained = json.loads((tmp_path / "out" / "supernet" / "manifest.json").read_text())
    kept = json.loads((tmp_path / "out" / "given.json").read_text())["measurements"]["rmse"]["value"]
    largest = next(r for r in done.records if r.candidate["width"] == 16)
    assert kept == pytest.approx(largest.values["rmse"]) and "validation_mae" in trained
    assert any("the largest network as it is trained has rmse" in line for line in said.lines)
    assert all(r.values["rmse"] <= 1.5 * kept for r in done.front)


def test_a_limit_below_the_smallest_is_told_before_training_with_the_nearest(tmp_path: Path) -> None:
    said = Said()
    with pytest.raises(InfeasibleConstraints, match=r"latency <= 1 ms \(0.0625x\): the nearest has latency 2"):
        fit(recipe("fresh", "latency <= 0.0625x"), tmp_path / "out", callback=said)
    with pytest.raises(InfeasibleConstraints, match=r"no candidate keeps macs <= 1.12 \(0.01x\): the nearest has macs"):
        fit(recipe("fresh", "macs <= 0.01x"), tmp_path / "other", callback=said)
    assert not any(line.startswith("training") for line in said.lines)


def test_trimming_takes_them_too(tmp_path: Path) -> None:
    done = trim(recipe("solved", "macs <= 0.8x"), tmp_path / "out")
    assert done.after["macs"].value <= 0.8 * done.before["macs"].value


def test_without_a_job_nobody_measures_the_given_model() -> None:
    with pytest.raises(LimitError, match="is relative to a given model, of which latency is not known here"):
        nw.Study("memory", fresh(), objectives=[Clock()], record=[], limits=["latency <= 0.5x"])
