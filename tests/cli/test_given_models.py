"""Models that come trained: they are found out, trained gently, and what harms them is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .running import done, records

RUINOUS = "sgd,lr=1.0,momentum=0.9,nesterov=true"


def manifest(out: Path) -> Any:
    return json.loads((out / "supernet" / "manifest.json").read_text())


def test_a_trained_model_is_trained_gently_by_default(recipe, tmp_path):
    told = done("train", recipe(model="tiny:trained", train={"epochs": 2}), "--out", tmp_path / "out")
    assert (
        "training: with sgd,lr=0.01,momentum=0.9," in told.err
        and "it comes trained" in told.err
        and "warning" not in told.err
    )
    accuracy = manifest(tmp_path / "out")["validation_accuracy"]
    assert accuracy["given"] > 80 and accuracy["largest"] >= accuracy["given"] - 0.3


def test_fresh_weights_are_not_taken_for_trained(recipe, tmp_path):
    told = done("train", recipe(train={"epochs": 3}), "--out", tmp_path / "out")
    assert "comes trained" not in told.err
    assert manifest(tmp_path / "out")["validation_accuracy"]["given"] < 60


def test_a_model_that_training_harms_is_said_and_told_in_the_report(recipe, tmp_path):
    train = {
        "epochs": 2,
        "optimizer": RUINOUS,
        "rule": "sandwich,targets=0",
        "batch_size": 64,
        "teacher": "none",
        "keep": 100.0,
    }
    out, ruinous = tmp_path / "out", recipe(model="tiny:trained", train=train)
    told = done("train", ruinous, "--out", out)
    (said,) = [line for line in told.err.splitlines() if line.startswith("warning: training took the given model from")]
    assert "--train.epochs 0" in said and f"it was {RUINOUS})" in said and "comes trained" not in told.err
    assert said == f"warning: {manifest(out)['warning']}"
    for shown in (done("search", ruinous, "--out", out), done("front", out)):
        assert shown.out.splitlines()[1].startswith("given model ")
    done("report", out)
    assert "training took the given model" in (out / "report.html").read_text()
    assert "harmed" not in told.err, "it is said once"


def test_weights_are_kept_where_nothing_is_trained(recipe, tmp_path):
    out = tmp_path / "out"
    told = done("train", recipe(model="tiny:trained", train={"epochs": 0}), "--out", out)
    accuracy = manifest(out)["validation_accuracy"]
    assert accuracy["given"] == accuracy["largest"] > 80 and "trained, so" not in told.err


def test_networks_that_answer_a_constant_are_never_handed_back_without_a_word(recipe, tmp_path):
    out = tmp_path / "out"
    told = done("fit", recipe(model="tiny:constant", train={"epochs": 0}), "--out", out)
    assert "warning: no network on the front is better than a constant answer" in told.err
    assert all(r["measurements"]["accuracy"]["constant"] == 2 for r in records(out))
    for path in out.glob("networks/*/manifest.json"):
        role = json.loads(path.read_text())["role"]
        assert role.endswith("but no better than a constant answer") and role in told.out.replace("\n", " ")
    assert "(chance)" in told.out
