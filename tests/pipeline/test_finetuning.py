"""Fine-tuning of what is handed back: gone on with where it was interrupted, and told as it goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import netwright as nw
from netwright.nets.state import read_tensors, write_tensors
from netwright.pipeline.callback import NullCallback
from netwright.pipeline.context import open_run
from netwright.pipeline.finetune import Finetuned, finetune
from netwright.pipeline.train import train
from netwright.recipe.load import parse
from netwright.training.run import Progress

EPOCHS, BATCHES = 4, 4


def model() -> nw.SuperNet:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 1))
    width = nw.Width.tie(net, "width", (4, 8, 16), out_of=["0"], through=["1"], into=["4"])
    return nw.SuperNet(net, [width], torch.zeros(1, 6))


def data() -> nw.Data:
    x = torch.randn(96, 6, generator=torch.Generator().manual_seed(0))
    return nw.Data(*(nw.Split(part, part.sum(1)) for part in (x[:64], x[64:80], x[80:])))


class Steps(NullCallback):
    """Remembers the steps of fine-tuning, and interrupts it at one.

    Args:
        stop: the step; 0 for none.
    """

    def __init__(self, stop: int = 0) -> None:
        self.stop, self.steps = stop, list[int]()

    def finetuned(self, id_: str, progress: Progress) -> None:
        self.steps.append(progress.step)
        assert (progress.steps, id_) == (EPOCHS * BATCHES, model().smallest.id)
        if progress.step == self.stop:
            raise KeyboardInterrupt


def tuned(out: Path, callback: Steps, **more: Any) -> Finetuned:
    """The smallest network after a job's training and its fine-tuning."""
    optimizer = "adamw,lr=0.01"
    recipe = {
        "model": f"{__name__}:model", "data": f"{__name__}:data", "task": "regression", "objectives": ["mae", "macs"],
        "train": {"epochs": 1, "batch_size": 16, "optimizer": optimizer, **more.pop("train", {})},
        "export": {"epochs": EPOCHS, "optimizer": optimizer, **more},
    }  # fmt: skip
    with open_run(parse(recipe, "recipe"), out, callback=callback) as context:
        train(context)
        return finetune(context, context.source.space.smallest)


def same(one: Finetuned, other: Finetuned) -> bool:
    states = one.network.state_dict(), other.network.state_dict()
    return states[0].keys() == states[1].keys() and all(torch.equal(v, states[1][k]) for k, v in states[0].items())


@pytest.mark.parametrize(
    ("wish", "left"),
    [({}, 8), ({"patience": 9}, 8), ({"train": {"checkpoint_steps": 2}}, 6)],
    ids=["epochs", "best epoch", "steps"],
)
def test_interrupted_it_ends_as_it_would_have(wish: dict[str, Any], left: int, tmp_path: Path) -> None:
    stop, again, whole = Steps(11), Steps(), Steps()
    with pytest.raises(KeyboardInterrupt):
        tuned(tmp_path / "a", stop, **wish)
    found = tuned(tmp_path / "a", again, **wish)
    assert same(found, tuned(tmp_path / "b", whole, **wish)) and found.kept
    assert whole.steps == [*range(1, 17)] and again.steps == [*range(17 - left, 17)]


def test_what_is_done_is_not_tuned_again(tmp_path: Path) -> None:
    first, again = Steps(), Steps()
    found = tuned(tmp_path, first)
    assert same(found, tuned(tmp_path, again)) and found.after == tuned(tmp_path, again).after
    assert len(first.steps) == EPOCHS * BATCHES and not again.steps


def test_another_recipe_begins_anew(tmp_path: Path) -> None:
    again, other = Steps(), Steps()
    with pytest.raises(KeyboardInterrupt):
        tuned(tmp_path, Steps(9))
    assert not same(tuned(tmp_path, again, schedule="constant"), tuned(tmp_path / "b", other))
    assert again.steps == other.steps


def test_other_trained_weights_begin_anew(tmp_path: Path) -> None:
    """Such as those of a directory whose super-network was trained once more."""
    with pytest.raises(KeyboardInterrupt):
        tuned(tmp_path, Steps(9))
    (tmp_path / "supernet" / "manifest.json").unlink()
    weights = tmp_path / "supernet" / "weights.safetensors"
    write_tensors(weights, {k: v + 1 for k, v in read_tensors(weights)[0].items()})
    again = Steps()
    tuned(tmp_path, again, train={"keep": 100.0})
    assert len(again.steps) == EPOCHS * BATCHES
