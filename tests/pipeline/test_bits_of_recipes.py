"""Layers of several precisions by a recipe."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from cli.running import TINY, done, records

import netwright as nw
from netwright.core.errors import MeasureError, NetwrightError
from netwright.pipeline.context import open_run
from netwright.pipeline.search import open_study
from netwright.pipeline.train import train
from netwright.pipeline.trim import Trim
from netwright.recipe.load import folder_of, load

TARGET = "onnxruntime,precision=int8,form=u8u8"


def test_the_whole_job_with_bits(tmp_path: Path) -> None:
    out = tmp_path / "out"
    more = ("--bits.options", "int8", "--bits.ends", "true", "--evaluations", 3, "--export.epochs", 1)
    done("fit", TINY, "--target", TARGET, *more, "--out", out)
    found = records(out)
    bits = {name for record in found for name in record["candidate"] if name.endswith(".bits")}
    assert bits and all(record["status"] == "ok" for record in found)
    assert all(record["measurements"]["bit_ops"]["value"] > 0 for record in found)
    for path in out.glob("networks/*"):
        candidate = json.loads((path / "manifest.json").read_text())["candidate"]
        model = onnx.load(path / "onnxruntime-int8.onnx")
        quantised = any(node.op_type == "QuantizeLinear" or "Integer" in node.op_type for node in model.graph.node)
        assert quantised == ("int8" in candidate.values())


def test_weights_that_were_trained_in_float32_are_searched_in_bits(tmp_path: Path) -> None:
    done("train", TINY, "--out", tmp_path / "trained")
    more = ("--bits.options", "int8", "--bits.ends", "true", "--evaluations", 2, "--export.epochs", 0)
    done("fit", TINY, "--target", TARGET, "--train.weights", tmp_path / "trained", *more, "--out", tmp_path / "out")
    assert [record["status"] for record in records(tmp_path / "out")] == ["ok", "ok"]


def test_the_whole_network_in_bits_is_handed_back_with_the_statistics_of_the_search(tmp_path: Path) -> None:
    done("train", TINY, "--out", tmp_path / "trained")
    more = {"bits.options": ["int8"], "bits.ends": True, "train.weights": str(tmp_path / "trained"), "target": TARGET}
    recipe, folder = load(TINY, more), folder_of(TINY)
    with open_run(recipe, tmp_path / "out", "tiny", folder) as context:
        train(context)
        study, net = open_study(context), context.source.supernet()
        low = net.largest_with({axis.name: "int8" for axis in net.axes if isinstance(axis, nw.Bits)})
        (record,) = study.run(Trim(candidate=low), 1)
        assert record.provenance["statistics"] == context.network(low)[1] == "inherited"


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({}, "does not run single layers in 'int8'"),
        ({"target": TARGET, "bits.options": ["ternary"]}, "does not run single layers in 'ternary'"),
        ({"target": TARGET, "bits.options": ["int4"]}, "weights of 4 bits for linear layers alone"),
        ({"target": TARGET, "bits.by": "blok"}, "did you mean 'block'"),
        ({"target": TARGET, "bits.options": ["int9"]}, "no precision 'int9'"),
    ],
)
def test_what_a_target_does_not_run_is_told_before_the_job(tmp_path: Path, overrides: dict, says: str) -> None:
    with pytest.raises(NetwrightError, match=says) as error:
        nw.fit("digits", tmp_path / "out", overrides={"bits.options": ["int8"], **overrides})
    assert isinstance(error.value, MeasureError) == any(
        words in says for words in ("does not run", "linear layers alone")
    )
    assert not (tmp_path / "out" / "study.db").exists()
