"""Layers of several precisions by a recipe."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from cli.running import TINY, done, records

import netwright as nw
from netwright.core.errors import MeasureError, NetwrightError, StoreError
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
    less = {"choices": {"width": [8, 16], "*.bits": ["float32"]}, "train.weights": str(tmp_path / "trained")}
    recipe = load(TINY, {**less, "bits.options": ["int8"], "target": TARGET})
    with open_run(recipe, tmp_path / "less", "tiny", folder_of(TINY)) as context:
        train(context)
        assert context.source.space["width"].options == (8, 16), "in a part of the space that they were trained in"


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


LINEAR = """
import torch
import netwright as nw


def inputs():
    torch.manual_seed(1)
    return torch.randn(96, 4) @ torch.randn(4, 64) + 0.1 * torch.randn(96, 64)


def supernet():
    torch.manual_seed(0)
    layers = [torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 3)]
    return nw.SuperNet(torch.nn.Sequential(*layers).eval(), [], inputs()[:1])


def data():
    x = inputs()
    return nw.Data(*(nw.Split(part, (part[:, 0] > 0).long()) for part in x.split(32)))
"""


def test_rounding_by_outputs_is_that_of_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Judged, kept in the study, and handed back: the file has the whole numbers of the rounded network."""
    (tmp_path / "own_linear.py").write_text(LINEAR)
    monkeypatch.syspath_prepend(str(tmp_path))
    recipe = {
        "model": "own_linear:supernet", "data": "own_linear:data", "target": TARGET, "evaluations": 2,
        "train": {"epochs": 1}, "export": {"epochs": 0}, "search": {"calibration": 32, "strategy": "random"},
        "bits": {"options": ["int4"], "by": "type", "ends": True, "rounding": "gptq"},
        "objectives": ["accuracy", "weight_bytes"],
    }  # fmt: skip
    fitted = nw.fit(recipe, tmp_path / "out")
    low = next(record for record in fitted.front if "int4" in record.candidate.values())
    loaded = load(recipe)
    with open_run(loaded, tmp_path / "out", "linear", str(tmp_path)) as context:
        train(context)
        network, _ = context.network(context.source.space.candidate(low.candidate))
        inputs = context.source.example_of(network)
        net = context.source.supernet()
        by_outputs = network(inputs).detach().numpy()
        nearest = net.extract(low.candidate)(inputs).detach().numpy()
        with pytest.raises(StoreError, match="its rounding is gptq, here it is not set"):
            open_study(replace(context, recipe=replace(loaded, bits=replace(loaded.bits, rounding="nearest"))))
    file = tmp_path / "out" / "networks" / low.id / "onnxruntime-int8.onnx"
    model = onnx.load(file)
    assert "MatMulNBits" in {node.op_type for node in model.graph.node}
    session = onnxruntime.InferenceSession(file)
    (given,) = session.run(None, {session.get_inputs()[0].name: inputs.numpy()})
    assert np.abs(given - by_outputs).max() < 0.05 * np.abs(given - nearest).max()


def test_rounding_by_outputs_needs_bits_and_data(tmp_path: Path) -> None:
    for more, says in (
        ({"bits.rounding": "gptq"}, "has no axis of bits; add them"),
        ({"bits.rounding": "gtpq"}, "bits.rounding"),
    ):
        with pytest.raises(NetwrightError, match=says):
            nw.fit("digits", tmp_path / "out", overrides=more)
    (tmp_path / "recipe.yaml").write_text(f"model: {__name__}:linear\nobjectives: [weight_bytes]\n")
    more = {"bits.rounding": "gptq", "bits.options": ["int8"], "bits.ends": True, "target": TARGET}
    with pytest.raises(NetwrightError, match="no calibration batches"):
        nw.fit(tmp_path / "recipe.yaml", tmp_path / "out", overrides=more)


def linear() -> nw.SuperNet:
    """Without data."""
    return nw.SuperNet(torch.nn.Sequential(torch.nn.Linear(4, 2)), [], torch.zeros(1, 4))


def test_how_weights_are_rounded_is_no_part_of_the_training() -> None:
    one, other = (load(TINY, {"bits.options": ["int8"], "bits.rounding": each}) for each in ("nearest", "gptq"))
    assert one.key(*one.space, "train") == other.key(*other.space, "train")
