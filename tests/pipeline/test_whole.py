"""A pre-trained model that does not know the task is fine-tuned whole first, and is the given model from then on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_checkpoints as tiny
import torch

import netwright as nw
from netwright.core.errors import CheckpointError
from netwright.nets.state import read_tensors
from netwright.pipeline.callback import NullCallback
from netwright.pipeline.context import Context, open_run
from netwright.pipeline.limits import limits_of
from netwright.pipeline.train import train
from netwright.pipeline.whole import with_whole
from netwright.recipe.load import load

SAYS = "fine-tuning the whole network for the task"


class Heard(NullCallback):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def stage(self, text: str) -> None:
        self.said.append(text)

    def has(self, words: str) -> bool:
        return any(words in text for text in self.said)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A body without a head, texts for it, and a job of them that was done."""
    place = tmp_path_factory.mktemp("whole")
    tiny.bert(place / "model")
    tiny.written(place / "train.tsv", tiny.sentences(300))
    nw.fit(recipe(place), place / "out")
    return place


def recipe(folder: Path, **train: Any) -> dict[str, Any]:
    return {
        "model": f"{folder / 'model'},depths=(2,3),ffn=(0.5,)", "data": str(folder / "train.tsv"),
        "objectives": ["accuracy", "macs"], "evaluations": 3, "search": {"strategy": "random"},
        "train": {"epochs": 5, "optimizer": "adamw,lr=3e-3", "keep": 20.0, **train},
        "export": {"epochs": 0, "formats": ["onnx"]}, "limits": ["accuracy >= -30 points"],
    }  # fmt: skip


def opened(folder: Path, out: str, heard: Heard | None = None, **train: Any) -> Context:
    with open_run(load(recipe(folder, **train)), folder / out, callback=heard) as context:
        return context


def test_it_learns_as_by_ordinary_fine_tuning_and_teaches(folder: Path) -> None:
    context = opened(folder, "out")
    kept = read_tensors(context.run.whole)[0]
    plain = context.plain_source().largest()
    assert context.source.pretrained and not context.source.new_head
    nw.finetune(
        plain, nw.TensorLoader(context.data.train, 16, shuffle=True), epochs=5,  # type: ignore[union-attr]
        optimizer="adamw,lr=3e-3", schedule="cosine,warmup=0.1", clip_norm=1.0,
    )  # fmt: skip
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(kept[name], tensor)
    given = context.given().state_dict()
    assert all(torch.equal(given[name], tensor) for name, tensor in kept.items())
    about = context.run.read_training()
    assert about is not None and about.given["accuracy"].value > 90
    known = context.run.read_given()["accuracy"].value
    assert known == about.given["accuracy"].value, "the report has it"
    (limit,) = limits_of(context, trained=True)
    assert limit.bound == known - 30


def test_a_job_that_goes_on_does_not_learn_again(folder: Path) -> None:
    heard = Heard()
    context = opened(folder, "out", heard)
    assert with_whole(context) is context and not heard.has(SAYS)
    nw.fit({**recipe(folder), "evaluations": 4}, folder / "out", callback=heard)
    assert not heard.has(SAYS)


def test_one_that_was_interrupted_after_it_goes_on_with_the_order_of_its_blocks(folder: Path) -> None:
    heard = Heard()
    with open_run(load(recipe(folder)), folder / "begun", callback=heard) as context:
        first = with_whole(context)
    assert heard.has(SAYS) and heard.has("fine-tuned: it is the given model")
    assert heard.has("depth: blocks are left out"), "what its outputs depend on is known now"
    again = opened(folder, "begun")
    orders = [[a.order for a in each.source.supernet().axes if isinstance(a, nw.Depth)] for each in (first, again)]
    assert orders[0] == orders[1]
    with pytest.raises(CheckpointError, match="was trained by another recipe"):
        opened(folder, "begun", epochs=2)


def test_who_takes_up_a_super_network_has_what_it_learned_from(folder: Path) -> None:
    heard = Heard()
    context = opened(folder, "other", heard, weights=str(folder / "out"))
    assert with_whole(context) is context and not context.source.new_head
    mine, theirs = (each.given().state_dict() for each in (context, opened(folder, "out")))
    assert all(torch.equal(mine[name], tensor) for name, tensor in theirs.items())


def test_nothing_is_learned_where_nothing_is_trained(folder: Path) -> None:
    context = opened(folder, "still", epochs=0)
    assert with_whole(context) is context and context.source.new_head
    bare = replace(context, data=None)
    assert with_whole(bare) is bare


def test_one_that_knows_the_task_stays_as_it_is(folder: Path) -> None:
    library, context = tiny.library(), opened(folder, "out")
    with tiny.quiet():
        context.given().save_pretrained(folder / "knows")  # type: ignore[operator]
        library.BertTokenizer(str(folder / "model" / "vocab.txt")).save_pretrained(folder / "knows")
    asked = {**recipe(folder), "model": str(folder / "knows")}
    with open_run(load(asked), folder / "known") as known:
        assert with_whole(known) is known
        train(known)
        assert not known.run.whole.exists()
