"""Trackers are told the figures of a job: TensorBoard, MLflow, one of a person's own."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import pytest

from netwright.core.errors import NetwrightError
from netwright.pipeline.callback import NullCallback
from netwright.pipeline.tracking import tracked
from netwright.recipe.load import parse
from netwright.trackers.base import Tracker
from netwright.training.run import Progress


class Notes(Tracker):
    """Remembers everything."""

    kept: list[object] = []  # noqa: RUF012

    def start(self, folder: Path, name: str, settings: Mapping[str, str]) -> None:
        self.kept[:] = [(folder, name, settings["train.epochs"])]

    def log(self, values: Mapping[str, float], step: int) -> None:
        self.kept.append((dict(values), step))

    def finish(self) -> None:
        self.kept.append("finished")


class Heard(NullCallback):
    def __init__(self) -> None:
        self.steps: list[int] = []

    def trained(self, progress: Progress) -> None:
        self.steps.append(progress.step)


def told(track: str, out: Path) -> list[int]:
    recipe = parse({"model": "m:f", "data": "m:g", "track": [track]}, "r.yaml")
    heard = Heard()
    with pytest.raises(KeyError), tracked(recipe, out, "r", heard) as callback:
        for step in (1, 2):
            callback.trained(Progress(1, 1, step, 2, 0.5 / step, 10.0, {"largest": 70.0 + step, "a<b>\x1b": 1.0}))
        raise KeyError
    return heard.steps


def test_a_tracker_of_ones_own_is_told_and_finished(tmp_path: Path) -> None:
    assert told(f"{__name__}:Notes", tmp_path) == [1, 2]
    assert Notes.kept == [
        (tmp_path, "r", "30"),
        ({"train/loss": 0.5, "train/largest": 71.0, "train/a<b>\x1b": 1.0}, 1),
        ({"train/loss": 0.25, "train/largest": 72.0, "train/a<b>\x1b": 1.0}, 2),
        "finished",
    ]


class Unreachable(Tracker):
    """A server that is not there."""

    def start(self, folder: Path, name: str, settings: Mapping[str, str]) -> None:
        pass

    def log(self, values: Mapping[str, float], step: int) -> None:
        raise ConnectionError("nobody answers")

    def finish(self) -> None:
        pass


def test_a_tracker_that_fails_is_named(tmp_path: Path) -> None:
    recipe = parse({"model": "m:f", "data": "m:g", "track": [f"{__name__}:Unreachable"]}, "r.yaml")
    with (
        pytest.raises(NetwrightError, match=r"Unreachable raised ConnectionError: nobody answers; .*'track'"),
        tracked(recipe, tmp_path, "r", NullCallback()) as callback,
    ):
        callback.trained(Progress(1, 1, 1, 2, 0.5, 10.0, {}))


@pytest.mark.skipif(find_spec("tensorboard") is None, reason="tensorboard is not installed")
def test_tensorboard_has_event_files(tmp_path: Path) -> None:
    told("tensorboard", tmp_path)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(1, 0.5), (2, 0.25)]


@pytest.mark.skipif(find_spec("mlflow") is None, reason="mlflow is not installed")
def test_mlflow_has_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    told("mlflow", tmp_path)
    from mlflow.tracking import MlflowClient

    client = MlflowClient((tmp_path / "mlruns").as_uri())
    found = client.get_experiment_by_name("netwright")
    assert found is not None
    (run,) = client.search_runs([found.experiment_id])
    assert run.data.metrics["train/loss"] == 0.25 and run.data.params["train.epochs"] == "30"
    assert run.info.status == "FINISHED"
