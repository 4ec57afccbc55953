"""Depth of a model that comes trained keeps the blocks that matter, and plain cuts are among the first candidates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_checkpoints as tiny
import torch
from torch import nn
from torch.testing import assert_close

import netwright as nw
from netwright.core.errors import CheckpointError, RecipeError
from netwright.pipeline.callback import NullCallback
from netwright.pipeline.context import Context, open_run
from netwright.pipeline.plain_cuts import plain_cuts
from netwright.recipe.load import load
from netwright.report.sections.plain import Plain

LAYERS = [f"bert.encoder.layer.{i}" for i in range(3)]


class Heard(NullCallback):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def stage(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model whose middle layer does nothing, and whose first does little, with texts for it."""
    transformers = tiny.library()
    tiny.bert(tmp_path / "model", "BertForSequenceClassification")
    model: Any = transformers.BertForSequenceClassification.from_pretrained(tmp_path / "model")
    model = model.float()
    for layer, share in ((0, 0.1), (1, 0.0)):
        for own in (model.bert.encoder.layer[layer].attention.output, model.bert.encoder.layer[layer].output):
            nn.init.normal_(own.dense.weight, std=share)
            nn.init.zeros_(own.dense.bias)
    nn.init.normal_(model.bert.encoder.layer[2].output.dense.weight, std=1.0)
    with tiny.quiet():
        model.save_pretrained(tmp_path / "model")
    tiny.written(tmp_path / "train.tsv", tiny.sentences(60))
    return tmp_path


def recipe(folder: Path, **train: Any) -> dict[str, Any]:
    return {
        "model": f"{folder / 'model'},depths=(1,2,3),ffn=(0.5,)", "data": str(folder / "train.tsv"),
        "objectives": ["accuracy", "macs"], "train": {"epochs": 1, **train}, "evaluations": 6,
        "search": {"strategy": "random"}, "export": {"epochs": 0, "formats": ["onnx", "transformers"]},
    }  # fmt: skip


def opened(folder: Path, out: str, heard: Heard | None = None, **train: Any) -> Context:
    with open_run(load(recipe(folder, **train)), folder / out, callback=heard) as context:
        return context


def order(context: Context) -> list[str]:
    (axis,) = (axis for axis in context.source.supernet().axes if isinstance(axis, nw.Depth))
    return list(axis.order)


def test_a_mistake_is_told_before_any_block_is_judged(folder: Path) -> None:
    heard = Heard()
    with (
        pytest.raises(RecipeError, match="there is no metric 'acuracy'"),
        open_run(load({**recipe(folder), "objectives": ["acuracy", "macs"]}), folder / "out", callback=heard),
    ):
        raise AssertionError("it was opened")
    assert not any("blocks are left out" in text for text in heard.said)


def test_blocks_are_put_in_order_once_and_a_job_that_goes_on_keeps_to_it(folder: Path) -> None:
    heard = Heard()
    first = opened(folder, "out", heard)
    assert order(first) == [LAYERS[2], LAYERS[0], LAYERS[1]]
    assert "depth: blocks are left out by how little the outputs change without each: 1, 0, 2" in heard.said
    two = first.source.supernet().extract({**first.source.space.largest, "depth": 2})
    assert [each.output.dense.weight.shape for each in two.bert.encoder.layer] == [(32, 64)] * 2  # type: ignore
    kept = first.source.supernet().module.bert.encoder.layer  # type: ignore[union-attr]
    for new, old in ((0, 0), (1, 2)):  # they run in the order of the model, and are numbered anew
        ours, given = (each.output.dense.weight for each in (two.bert.encoder.layer[new], kept[old]))  # type: ignore
        assert_close(ours, given)
    file = folder / "out" / "supernet" / "blocks.json"
    assert json.loads(file.read_text()) == {"depth": order(first)}
    (folder / "out" / "study.db").touch()
    file.write_text(json.dumps({"depth": LAYERS[::-1]}))
    assert order(opened(folder, "out")) == LAYERS[::-1], "what is kept is what a study is of"
    file.write_text("{")
    with pytest.raises(CheckpointError, match="is not what netwright writes"):
        opened(folder, "out")
    file.unlink()
    assert order(opened(folder, "out")) == LAYERS, "a study without an order is of the model's"


def test_without_importance_blocks_stay_in_the_order_of_the_model(folder: Path) -> None:
    assert order(opened(folder, "out", importance="")) == LAYERS


def test_a_job_from_blocks_in_order_to_directories_and_its_weights_taken_up(folder: Path) -> None:
    done = nw.fit(recipe(folder), folder / "out")
    names = {candidate.id for candidate in plain_cuts(opened(folder, "out").source)}
    assert len(names) == 3, "two depths, one width"
    assert names <= {record.id for record in done.records}, "plain cuts are among the first"
    assert Plain.heading in (folder / "out" / "report.html").read_text()
    transformers, seen = tiny.library(), 0
    context = opened(folder, "out", Heard())
    for network in done.networks:
        with tiny.quiet():
            again = transformers.AutoModelForSequenceClassification.from_pretrained(
                folder / "out" / "networks" / network.id / "transformers"
            )
        ours = nw.fit(recipe(folder), folder / "out")  # nothing is done twice
        assert [n.id for n in ours.networks] == [n.id for n in done.networks]
        inputs, _ = context.calibration[0]
        seen += int(again.config.num_hidden_layers < 3)
        assert torch.isfinite(again(**inputs).logits).all()
    (folder / "out" / "supernet" / "blocks.json").write_text(json.dumps({"depth": [LAYERS[i] for i in (2, 1, 0)]}))
    taken = opened(folder, "other", weights=str(folder / "out"))
    assert order(taken) == [LAYERS[i] for i in (2, 1, 0)], "as they were trained"


def test_other_models_have_no_plain_cuts(folder: Path) -> None:
    class Fresh:
        pretrained = False

    assert plain_cuts(Fresh()) == {}  # type: ignore[arg-type]
