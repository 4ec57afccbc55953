"""Of networks that the search cannot tell apart, the one that gains most from fine-tuning is handed back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import netwright as nw
from netwright.core.errors import CheckpointError
from netwright.core.record import Record
from netwright.pipeline import halving
from netwright.pipeline.callback import NullCallback
from netwright.pipeline.context import open_run
from netwright.pipeline.export import export
from netwright.pipeline.halving import halved
from netwright.pipeline.search import open_study, search
from netwright.pipeline.selection import select_networks
from netwright.pipeline.train import train
from netwright.recipe.load import parse
from netwright.training.run import Progress

EPOCHS, BATCHES = 2, 4
PART = EPOCHS * BATCHES // 4


def model() -> nw.SuperNet:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1))
    width = nw.Width.tie(net, "width", (2, 4, 6, 8, 16), out_of=["0"], into=["2"])
    return nw.SuperNet(net, [width], torch.zeros(1, 6))


def data() -> nw.Data:
    x = torch.randn(240, 6, generator=torch.Generator().manual_seed(0))
    return nw.Data(*(nw.Split(part, part.sum(1)) for part in (x[:64], x[64:224], x[224:])))


class Told(NullCallback):
    """Remembers what is said, and the steps of each network; interrupts the job at one of these.

    Args:
        stop: counted over all networks; 0 for none.
    """

    def __init__(self, stop: int = 0) -> None:
        self.said, self.steps, self.stop = list[str](), dict[str, list[int]](), stop

    def stage(self, text: str) -> None:
        self.said.append(text)

    def finetuned(self, id_: str, progress: Progress) -> None:
        self.steps.setdefault(id_, []).append(progress.step)
        if sum(map(len, self.steps.values())) == self.stop:
            raise KeyboardInterrupt


def job(out: Path, told: Told, limits: Sequence[str] = ("macs <= 80",), **more: Any) -> tuple[list[Record], list[str]]:
    """What the search would hand back, and the ids of what is, of a job whose search knows all of five networks."""
    optimizer = "adamw,lr=0.02"
    recipe = {
        "model": f"{__name__}:model", "data": f"{__name__}:data", "task": "regression", "objectives": ["mae", "macs"],
        "limits": list(limits), "evaluations": 5, "search": {"strategy": "random"},
        "train": {"epochs": 20, "batch_size": 16, "optimizer": optimizer},
        "export": {"epochs": EPOCHS, "optimizer": optimizer, "formats": ["safetensors"], **more},
    }  # fmt: skip
    with open_run(parse(recipe, "recipe"), out, callback=told) as context:
        train(context)
        study = open_study(context)
        picked = select_networks(search(context, study))
        chosen = halved(context, study, picked)
        export(context, study, chosen[:1])
        return picked, [record.id for record in chosen]


def forced(which: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the network of this place in their order do best after its part of fine-tuning."""
    tune, seen = halving.tune_in_part, list[str]()

    def judged(context: Any, candidate: Any, share: float) -> Any:
        found = tune(context, candidate, share)
        seen.append(candidate.id)
        return nw.Measurement(float(len(seen) - 1 != which), found.unit) if found else None

    monkeypatch.setattr(halving, "tune_in_part", judged)


@pytest.mark.parametrize("which", [0, 1])
def test_the_one_that_does_best_goes_on_from_where_it_was(
    which: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forced(which, monkeypatch)
    told, again = Told(), Told()
    picked, chosen = job(tmp_path, told, candidates=2)
    order = list(told.steps)
    assert order[0] == picked[0].id and chosen[0] == order[which] and len(order) == 2
    assert told.steps[order[which]] == [*range(1, EPOCHS * BATCHES + 1)]
    assert told.steps[order[1 - which]] == [*range(1, PART + 1)]
    assert any(text.startswith(f"{chosen[0]} goes on: mae of {picked[0].id}") for text in told.said), told.said
    assert [each.name for each in (tmp_path / "networks").iterdir()] == [chosen[0]]
    assert job(tmp_path, again, candidates=2)[1] == chosen and not again.steps, "it is found once"


def test_what_goes_on_ends_as_it_would_have_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forced(0, monkeypatch)
    weights = []
    for folder, wish in (("a", 2), ("b", 1)):
        job(tmp_path / folder, Told(), candidates=wish)
        weights.append(next((tmp_path / folder / "networks").glob("*/weights.safetensors")).read_bytes())
    assert weights[0] == weights[1]


def test_interrupted_it_ends_as_it_would_have(tmp_path: Path) -> None:
    whole, stop, again = Told(), Told(stop=3), Told()
    _, chosen = job(tmp_path / "a", whole, candidates=2)
    with pytest.raises(KeyboardInterrupt):
        job(tmp_path / "b", stop, candidates=2)
    assert job(tmp_path / "b", again, candidates=2)[1] == chosen
    files = [next((tmp_path / each / "networks").glob("*/weights.safetensors")) for each in ("a", "b")]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize(
    ("limits", "wish"),
    [((), {}), (("mae <= 9",), {}), (("macs <= 80",), {"candidates": 1}), (("macs <= 80",), {"epochs": 0})],
)
def test_otherwise_the_search_has_the_word(limits: Sequence[str], wish: dict[str, Any], tmp_path: Path) -> None:
    told = Told()
    picked, chosen = job(tmp_path, told, limits, **wish)
    assert chosen == [record.id for record in picked]
    assert not any("export.candidates" in text for text in told.said) and not (tmp_path / "halving.json").exists()


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    job(tmp_path, Told(), candidates=2)
    (tmp_path / "halving.json").write_text('{"a": {"kept": 3}}')
    with pytest.raises(CheckpointError, match=r"halving.json is not what netwright writes"):
        job(tmp_path, Told(), candidates=2)
