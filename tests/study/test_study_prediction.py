"""A device that is slow: what can be predicted is not measured, and what is on the front is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netwright as nw
from netwright.core.metric import Metric
from netwright.study.prediction import MAX_RELATIVE_CI, SLOW_MEASUREMENT_S
from netwright.study.study import Study
from netwright.testing import FakeMeasurer, FakeNet, fake_space

SPACE = fake_space(8, 4)


def accuracy(candidate: nw.Candidate) -> float:
    x = np.array(list(candidate.values()), dtype=float)
    luck = np.random.default_rng(int(candidate.id, 16)).normal()  # as training has it
    return float(60 + 4 * np.sqrt(x).sum() + 0.7 * luck)


def latency(candidate: nw.Candidate) -> float:
    x = np.array(list(candidate.values()), dtype=float)
    return float(1 + 0.2 * (x * np.linspace(0.5, 1.5, 8)).sum())


def accurate() -> FakeMeasurer:
    return FakeMeasurer(Metric("accuracy", "%", "max"), accuracy, ci95=0.3)


def slow(seconds: float = 10.0) -> FakeMeasurer:
    """A device that takes so long, by its own clock: nobody waits."""
    return FakeMeasurer(Metric("latency", "ms"), latency, ci95=0.001, n=30, on_device=True, seconds=seconds)


def searched(path: Path, evaluations: int, seconds: float = 10.0, **settings: Any) -> tuple[Study, FakeMeasurer]:
    device = slow(seconds)
    study = Study(path, FakeNet(SPACE), objectives=[accurate(), device], calibration=(), **settings)
    study.run(nw.Guided(), evaluations)
    return study, device


def test_most_networks_are_not_measured_and_all_of_the_front_are(tmp_path: Path) -> None:
    study, device = searched(tmp_path / "s.db", 60)
    assert len(study.records) == 60 and len(device.calls) < 48 and max(device.calls.values()) == 1
    front = study.front()
    assert len(front) > 5
    for record in front:
        assert record.candidate in device.calls and record.measurements["latency"].is_complete
        assert record.values["latency"] == latency(record.candidate)
    predicted = [r for r in study.records if not r.measurements["latency"].is_complete]
    assert len(predicted) == 60 - len(device.calls)
    for record in predicted:
        told = record.measurements["latency"]
        assert (told.kind, told.details) == ("predicted", {"predictor": "guided"})
        assert told.best_case == pytest.approx(told.value - told.ci95)
        assert told.ci95 <= MAX_RELATIVE_CI * told.value
    held = [abs(r.values["latency"] - latency(r.candidate)) <= r.measurements["latency"].ci95 for r in predicted]
    assert np.mean(held) >= 0.9
    again = Study(tmp_path / "s.db", FakeNet(SPACE), objectives=[accurate(), slow()], calibration=())
    assert [r.to_json() for r in again.records] == [r.to_json() for r in study.records], "what is predicted is kept"


def test_what_was_not_measured_is_dominated_if_it_comes_true(tmp_path: Path) -> None:
    study, _ = searched(tmp_path / "s.db", 50)
    front = [(r.values["accuracy"], r.values["latency"]) for r in study.front()]
    for record in study.records:
        if not record.measurements["latency"].is_complete:
            accuracy, latency = record.values["accuracy"], record.values["latency"]
            assert any(a >= accuracy and ms <= latency for a, ms in front)


def test_a_device_that_is_quick_measures_everything(tmp_path: Path) -> None:
    study, device = searched(tmp_path / "s.db", 40, seconds=0.1)
    assert len(device.calls) == 40 and all(r.measurements["latency"].is_complete for r in study.records)
    assert all(r.provenance["device_seconds"] < SLOW_MEASUREMENT_S for r in study.records)


def test_limits_are_kept_by_what_was_measured(tmp_path: Path) -> None:
    study, device = searched(tmp_path / "s.db", 50, limits=["latency <= 4 ms"])
    assert all(latency(r.candidate) <= 4 and r.candidate in device.calls for r in study.front())
    for record in study.records:
        told = record.measurements.get("latency")
        if told is not None and not told.is_complete:
            assert not told.value - told.ci95 <= 4 < told.value + told.ci95, "a limit lies within what it may be"


def test_a_study_that_was_stopped_goes_on_as_it_would_have(tmp_path: Path) -> None:
    whole, _ = searched(tmp_path / "whole.db", 40)
    searched(tmp_path / "part.db", 30)
    # The last measurements of the first part are of its own front: what was measured in the end is known now.
    part, _ = searched(tmp_path / "part.db", 40)
    assert len(part.records) == 40 == len(whole.records)
    again, device = searched(tmp_path / "whole.db", 40)
    assert not device.calls and [r.id for r in again.records] == [r.id for r in whole.records]
