"""A recipe's task goes through the whole job: what is learned, searched by, and measured on exported files."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import netwright as nw
from netwright.core.errors import RecipeError
from netwright.pipeline.context import open_run
from netwright.pipeline.fit import fit
from netwright.pipeline.search import open_study
from netwright.recipe.load import parse

G = torch.Generator().manual_seed(0)


class Table(nn.Module):
    """Values of a row."""

    def __init__(self, outputs: int = 1) -> None:
        super().__init__()
        self.body, self.head = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 16)), nn.Linear(16, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).relu())


def table() -> nw.SuperNet:
    torch.manual_seed(0)
    return nw.wrap(Table(), torch.zeros(1, 4))


def values() -> nw.Data:
    x = torch.randn(240, 4, generator=G)
    y = x[:, :1] - 2 * x[:, 1:2] + 5
    return nw.Data(*(nw.Split(x[i : i + 80], y[i : i + 80]) for i in (0, 80, 160)))


class Tagger(nn.Module):
    """A tag for each token, and a value of the sentence."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.body, self.tags, self.value = (
            nn.Embedding(7, 12),
            nn.Linear(12, 24),
            nn.Linear(24, 3),
            nn.Linear(24, 1),
        )

    def forward(self, ids: Tensor, mask: Tensor) -> Any:
        hidden = self.body(self.embed(ids) * mask[..., None]).relu()
        return {"value": self.value(hidden.mean(1))[:, 0], "tags": self.tags(hidden)}


def tagger() -> nw.SuperNet:
    torch.manual_seed(0)
    return nw.wrap(Tagger(), {"ids": torch.ones(2, 6, dtype=torch.int64), "mask": torch.ones(2, 6, dtype=torch.int64)})


class Sentences:
    """Batches of dicts, of a length that nobody knows."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __iter__(self) -> Iterator[Any]:
        generator = torch.Generator().manual_seed(self.seed)
        for n in (16, 16, 9):
            ids = torch.randint(7, (n, 6), generator=generator)
            mask = (torch.arange(6) < torch.randint(3, 7, (n, 1), generator=generator)).long()
            tags = torch.where(mask == 1, ids % 3, -100)
            yield {"ids": ids, "mask": mask, "labels": {"tags": tags, "value": ids.float().mean(1)}}


def sentences() -> nw.Data:
    return nw.Data(Sentences(0), Sentences(1), Sentences(2))


def both() -> nw.Task:
    return nw.tasks.Several({"tags": nw.tasks.TokenClassification(), "value": nw.tasks.Regression()}, {"value": 0.1})


class Worst(nw.tasks.OwnMetric):
    """The largest error."""

    metrics = (nw.Metric("worst"),)

    def __init__(self) -> None:
        self.found, self.seen = 0.0, 0

    def update(self, outputs: Any, targets: Any) -> int:
        self.found = max(self.found, float((outputs - targets).abs().max()))
        self.seen += len(targets)
        return len(targets)

    def result(self) -> dict[str, nw.Measurement]:
        return {"worst": nw.Measurement(self.found, n=self.seen)}


COMMON: dict[str, Any] = {
    "evaluations": 3, "train": {"epochs": 2, "batch_size": 16}, "export": {"epochs": 1, "formats": ["onnx"]},
    "search": {"strategy": "random"},
}  # fmt: skip


def done(out: Path, **recipe: Any) -> tuple[list[nw.Record], list[dict[str, Any]]]:
    """The records of a job, and the manifests of what it hands back."""
    recipe = {key: f"{__name__}:{value}" if key in ("model", "data") and value.isalpha() else value
              for key, value in recipe.items()}  # fmt: skip
    fitted = fit(parse({**COMMON, **recipe}, "recipe"), out)
    manifests = [json.loads(path.read_text()) for path in sorted(out.glob("networks/*/manifest.json"))]
    assert manifests and fitted.report.exists()
    return fitted.records, manifests


def test_a_regression_is_searched_by_its_own_metrics_and_exported(tmp_path: Path) -> None:
    records, manifests = done(
        tmp_path, model="table", data="values", task="regression,unit=kW", metric=f"{__name__}:Worst",
        objectives=["mae", "macs"],
    )  # fmt: skip
    assert {"mae", "rmse", "r2", "worst", "macs"} <= set(records[0].measurements)
    (about,) = manifests[:1]
    assert set(about["test"]) >= {"mae", "rmse", "r2", "worst", "latency"} and about["test"]["mae"]["unit"] == "kW"
    assert set(about["validation"]) == {"mae", "rmse", "r2", "worst"}
    folder = tmp_path / "networks" / about["id"]
    said = subprocess.run(
        [sys.executable, "-c", about["run"]], cwd=folder, capture_output=True, text=True, check=True
    ).stdout
    assert about["run"] in (folder / "README.md").read_text()
    assert float(said.removeprefix("test mae:")) == pytest.approx(about["test"]["mae"]["value"], rel=1e-4)
    assert "lowest MAE" in about["role"]


def test_two_inputs_and_two_outputs_of_a_loader_of_ones_own(tmp_path: Path) -> None:
    records, manifests = done(
        tmp_path, model="tagger", data="sentences", task=f"{__name__}:both", objectives=["f1", "macs"]
    )
    assert {"accuracy", "f1", "mae", "rmse", "r2"} <= set(records[0].measurements)
    assert set(manifests[0]["test"]) >= {"f1", "mae"}
    test = np.load(tmp_path / "test.npz")
    assert {name: test[name].shape for name in test} == {
        "inputs.ids": (41, 6), "inputs.mask": (41, 6), "labels.tags": (41, 6), "labels.value": (41,),
    }  # fmt: skip
    folder = tmp_path / "networks" / manifests[0]["id"]
    subprocess.run([sys.executable, "-c", manifests[0]["run"]], cwd=folder, check=True, capture_output=True)


def test_a_table_by_name_and_the_objectives_of_the_task(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = [
        "a,b,c,d,price",
        *(",".join(f"{v:.4f}" for v in (*row, row[0] * 3 + 1)) for row in rng.normal(size=(150, 4))),
    ]
    (tmp_path / "train.csv").write_text("\n".join(lines))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(json.dumps({**COMMON, "model": f"{__name__}:table", "data": "train.csv", "task": "regression"}))
    fitted = fit(recipe, tmp_path / "out")
    assert {"mae", "latency"} <= set(fitted.records[0].measurements)
    (tmp_path / "train.csv").write_text("\n".join([*lines, "1,1,1,1,4"]))
    with pytest.raises(nw.NetwrightError, match="another"):
        fit(recipe, tmp_path / "out")


def test_a_task_of_another_recipe_is_another_study(tmp_path: Path) -> None:
    done(tmp_path, model="table", data="values", task="regression", objectives=["mae", "macs"])
    with pytest.raises(nw.NetwrightError, match="another"):
        done(tmp_path, model="table", data="values", task="regression,objective=mae", objectives=["mae", "macs"])


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"task": "regresion"}, "did you mean 'regression'"),
        ({"task": "regression,unti=kW"}, "did you mean 'unit'"),
        ({"task": "classification"}, "class indices"),
        ({"task": "regression", "objectives": ["accuracy"]}, "no metric 'accuracy'.*'mae'"),
        ({"task": "regression", "metric": "mean"}, "module:Class"),
        ({"task": "regression", "data": "none.csv"}, "there is no file"),
        ({"task": f"{__name__}:table"}, "is no task"),
    ],
)
def test_what_a_task_cannot_do_is_told(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        fit(
            parse({**COMMON, "model": f"{__name__}:table", "data": f"{__name__}:values", **changes}, "recipe"), tmp_path
        )


def widest(candidate: nw.Candidate) -> float:
    return max(float(option) for option in candidate.values())


def test_hints_of_a_recipe_are_asked_for_candidates(tmp_path: Path) -> None:
    module = Path(__file__).stem
    wish = {"model": f"{module}:table", "data": f"{module}:values", "task": "regression", "objectives": ["mae", "macs"]}
    with open_run(parse({**wish, "search": {"hints": [f"{module}:widest"]}}, "test"), tmp_path / "out") as context:
        study = open_study(context)
        assert study.problem.hints is not None
        some = [context.source.space.smallest, context.source.space.largest]
        found = study.problem.hints(some)
        assert found[f"{module}:widest"].tolist() == [widest(candidate) for candidate in some]
    with (
        open_run(parse({**wish, "search": {"hints": ["widest"]}}, "test"), tmp_path / "other") as context,
        pytest.raises(RecipeError, match="the hint widest: write module:function, not 'widest'"),
    ):
        open_study(context)


def test_a_recipe_starts_from_what_others_have_measured(tmp_path: Path) -> None:
    module = Path(__file__).stem
    wish = {"model": f"{module}:table", "data": f"{module}:values", "task": "regression", "objectives": ["mae", "macs"]}
    with open_run(parse(wish, "test"), tmp_path / "out") as context:
        space = context.source.space
    candidate = next(c for c in space.enumerate() if c not in (space.smallest, space.largest))
    nw.write_records([nw.Record(candidate, {"mae": nw.Measurement(0.1)})], tmp_path / "past.csv")
    first = next(iter(candidate))
    text = (tmp_path / "past.csv").read_text()
    (tmp_path / "theirs.csv").write_text(text.replace(f"candidate.{first}", "candidate.x,candidate.y", 1).replace(
        f",{candidate[first]},", f",{candidate[first]},9,", 1
    ))  # fmt: skip
    for number, (file, names) in enumerate((("past.csv", {}), ("theirs.csv", {"x": first, "y": ""}))):
        search = {"warm_start": str(tmp_path / file), "warm_names": names}
        with open_run(parse({**wish, "search": search}, "test"), tmp_path / str(number)) as context:
            study = open_study(context)
            assert [r.candidate for r in study.warm_start] == [candidate]
            assert candidate in nw.Random().ask(study.problem, [], 3), "of those that are measured first"
    with pytest.raises(RecipeError, match=r"the key 'search.warm_names': expected a text, got 3"):
        parse({**wish, "search": {"warm_names": {"x": 3}}}, "test")
