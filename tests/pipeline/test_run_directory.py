"""The output directory: who has it, and what its small files say."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

import netwright as nw
from netwright.core.errors import CheckpointError, NetwrightError, StoreError
from netwright.core.metric import Measurement, Metric
from netwright.pipeline.context import open_run
from netwright.pipeline.run_directory import RunDirectory, RunInfo, Training
from netwright.recipe.schema import Recipe
from netwright.strategies.predict.scores import Scores

INFO = RunInfo(
    name="mine",
    folder=None,
    recipe=Recipe(model="m:f", objectives=["macs"], seed=3).to_json(),
    metrics=(Metric("mae", "kWh"), Metric("latency", "ms", superlative="fastest")),
    space_size=10**30,
    largest={"macs": 5e6},
    given={"macs": Measurement(5e6, kind="exact")},
    untrained="",
    command="netwright fit mine.yaml",
    commit=None,
    versions={"torch": "2.13.0"},
    predictability={"mae": Scores(0.5, 0.6, 0.1, 0.9, 1.1)},
    judged=12,
)
GIVEN = {"mae": Measurement(9.5, "kWh", 0.25, 80), "loss": Measurement(3.0, details={"chance": 3.5})}
TRAINING = Training(
    "k",
    {"model": "m:f"},
    "f",
    "mae",
    {"given": 9.5, "largest": 2.25},
    GIVEN,
    "",
    {},
    {"w": {"sha256": "0", "bytes": 3}},
)


def test_files_are_read_as_they_were_written(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert run.read_training() is None
    run.write_info(INFO)
    run.supernet.mkdir()
    for about in (TRAINING, replace(TRAINING, warning="worse than before")):
        run.write_training(about)
        assert run.read_training() == about
    found = run.read_info()
    assert found == INFO and [m.best for m in found.metrics] == ["lowest MAE", "fastest"]
    assert json.loads(run.training.read_text())["validation_mae"] == {"given": 9.5, "largest": 2.25}


def test_what_is_damaged_or_missing_is_told(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    with pytest.raises(NetwrightError, match=r"holds no recipe\.json"):
        run.read_info()
    for text in ("", "{", "[]", "{}", '{"name": 3}', json.dumps({"metrics": [{"nome": "x"}], "predictability": {}})):
        run.recipe.write_text(text)
        with pytest.raises(NetwrightError, match=r"is damaged.*mends it"):
            run.read_info()
    run.supernet.mkdir()
    for text in ("{", "[]", "{}"):
        run.training.write_text(text)
        with pytest.raises(CheckpointError, match=r"manifest\.json .* away"):
            run.read_training()
    with pytest.raises(StoreError, match="no study"):
        run.journal()


def test_the_store_of_the_recipe_is_opened(tmp_path: Path) -> None:
    run, elsewhere = RunDirectory(tmp_path / "out"), tmp_path / "elsewhere.db"
    run.path.mkdir()
    with pytest.raises(StoreError, match=r"no study at .*out/study\.db"):
        run.known_store()
    run.open_store().append("study", {"n": 1})
    assert list(run.known_store().read()) == [("study", {"n": 1})] and run.study.exists()
    run.write_info(replace(INFO, recipe={**INFO.recipe, "store": f"sqlite,path={elsewhere}"}))
    with pytest.raises(StoreError, match=r"no study at .*elsewhere\.db"):
        run.known_store()
    run.open_store(f"sqlite,path={elsewhere}").append("study", {"n": 2})
    assert list(run.known_store().read()) == [("study", {"n": 2})]
    with pytest.raises(StoreError, match=r"memory keeps ends with the process.*use sqlite"):
        run.open_store("memory")


@contextmanager
def held(path: Path) -> Iterator[RunDirectory]:
    run = RunDirectory(path)
    with run.locked():
        yield run


def test_a_directory_is_held_by_one(tmp_path: Path) -> None:
    out = tmp_path / "a" / "b"
    with held(out) as run:
        with pytest.raises(StoreError, match="another netwright is working on"), held(out):
            pass
        run.write_info(INFO)
    with held(out):  # it is free again
        assert RunDirectory(out).read_info() == INFO


def test_nothing_is_left_where_nothing_came_of_it(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), held(tmp_path / "runs" / "new"):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())
    (tmp_path / "old").mkdir()
    with held(tmp_path / "old"):
        pass
    assert (tmp_path / "old").is_dir(), "what was there stays"


def test_the_lock_is_taken_before_a_persons_code_runs(tmp_path: Path, install: Callable[[str, str, str], None]) -> None:
    install("loud", "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\ndef model(): return None", "")
    recipe = nw.Recipe(model="loud:model", objectives=["macs"])
    with (
        held(tmp_path / "out"),
        pytest.raises(StoreError, match="another netwright"),
        open_run(recipe, tmp_path / "out"),
    ):
        pass
    assert not list(tmp_path.rglob("ran"))


def test_what_killed_processes_left_is_swept_when_the_directory_is_taken(tmp_path: Path) -> None:
    left = f".netwright-{2**22 - 1}-17-abcd"
    for place in ("", "supernet", "networks/3f5a9c0d1e"):
        (tmp_path / place / left).mkdir(parents=True)
        (tmp_path / place / left / "half").write_text("x")
    with RunDirectory(tmp_path).locked():
        assert not list(tmp_path.rglob(left))


def test_a_directory_whose_path_is_not_utf_8(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is not UTF-8"), RunDirectory(tmp_path / "caf\udce9").locked():
        pass
    assert not list(tmp_path.iterdir())
