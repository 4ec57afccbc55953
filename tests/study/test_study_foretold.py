"""A device that is slow: what can be foretold is not measured, and what is on the front is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

import netwright as nw
from netwright.core.metric import Measurement, Metric
from netwright.measure.base import EvaluationContext, Measurer
from netwright.study import prediction as module
from netwright.study.study import Study

SPACE = nw.Space([nw.Choice(f"c{i}", (1, 2, 3, 4)) for i in range(8)])


class Net:
    space = SPACE

    def extract(self, candidate: nw.Candidate) -> object:
        raise AssertionError("nothing here needs the network")


class Accuracy(Measurer):
    metrics = (Metric("accuracy", "%", "max"),)

    def measure(self, context: EvaluationContext) -> Mapping[str, Measurement]:
        x = np.array([context.candidate[f"c{i}"] for i in range(8)], dtype=float)
        luck = np.random.default_rng(int(context.candidate.id, 16)).normal()  # as training has it
        return {"accuracy": Measurement(float(60 + 4 * np.sqrt(x).sum() + 0.7 * luck), "%", ci95=0.3)}


class Device(Measurer):
    """Slow, if ``seconds`` says so: the study is told, nobody waits."""

    metrics = (Metric("latency", "ms", "min"),)
    on_device = True

    def __init__(self) -> None:
        self.measured: list[nw.Candidate] = []

    def measure(self, context: EvaluationContext) -> Mapping[str, Measurement]:
        self.measured.append(context.candidate)
        return {"latency": Measurement(self.truth(context.candidate), "ms", ci95=0.001, n=30)}

    @staticmethod
    def truth(candidate: nw.Candidate) -> float:
        x = np.array([candidate[f"c{i}"] for i in range(8)], dtype=float)
        return float(1 + 0.2 * (x * np.linspace(0.5, 1.5, 8)).sum())


@pytest.fixture
def dear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLOW_MEASUREMENT_S", 0.0)


def searched(path: Path, evaluations: int, **settings: object) -> tuple[Study, Device]:
    device = Device()
    study = Study(path, Net(), objectives=[Accuracy(), device], calibration=(), **settings)  # type: ignore[arg-type]
    study.run(nw.Guided(), evaluations)
    return study, device


@pytest.mark.usefixtures("dear")
def test_most_networks_are_not_measured_and_all_of_the_front_are(tmp_path: Path) -> None:
    study, device = searched(tmp_path / "s.db", 60)
    assert len(study.records) == 60 and len(device.measured) < 48
    assert len(set(device.measured)) == len(device.measured)
    front = study.front()
    assert len(front) > 5
    for record in front:
        assert record.candidate in device.measured and record.measurements["latency"].is_complete
        assert record.values["latency"] == Device.truth(record.candidate)
    foretold = [r for r in study.records if not r.measurements["latency"].is_complete]
    assert len(foretold) == 60 - len(device.measured)
    for record in foretold:
        told = record.measurements["latency"]
        assert (told.kind, told.details) == ("predicted", {"predictor": "guided"})
        assert told.best_case == pytest.approx(told.value - told.ci95)
        assert told.ci95 <= module.MAX_RELATIVE_CI * told.value
    held = [abs(r.values["latency"] - Device.truth(r.candidate)) <= r.measurements["latency"].ci95 for r in foretold]
    assert np.mean(held) >= 0.9
    again = Study(tmp_path / "s.db", Net(), objectives=[Accuracy(), Device()], calibration=())
    assert [r.to_json() for r in again.records] == [r.to_json() for r in study.records], "what is foretold is kept"


@pytest.mark.usefixtures("dear")
def test_what_was_not_measured_is_dominated_if_it_comes_true(tmp_path: Path) -> None:
    study, _ = searched(tmp_path / "s.db", 50)
    front = [(r.values["accuracy"], r.values["latency"]) for r in study.front()]
    for record in study.records:
        if not record.measurements["latency"].is_complete:
            accuracy, latency = record.values["accuracy"], record.values["latency"]
            assert any(a >= accuracy and ms <= latency for a, ms in front)


def test_a_device_that_is_quick_measures_everything(tmp_path: Path) -> None:
    study, device = searched(tmp_path / "s.db", 40)
    assert len(device.measured) == 40 and all(r.measurements["latency"].is_complete for r in study.records)
    assert all(r.provenance["device_seconds"] < module.SLOW_MEASUREMENT_S for r in study.records)


@pytest.mark.usefixtures("dear")
def test_limits_are_kept_by_what_was_measured(tmp_path: Path) -> None:
    study, device = searched(tmp_path / "s.db", 50, limits=["latency <= 4 ms"])
    assert all(Device.truth(r.candidate) <= 4 and r.candidate in device.measured for r in study.front())
    for record in study.records:
        told = record.measurements.get("latency")
        if told is not None and not told.is_complete:
            assert not told.value - told.ci95 <= 4 < told.value + told.ci95, "a limit lies within what it may be"


@pytest.mark.usefixtures("dear")
def test_a_study_that_was_stopped_goes_on_as_it_would_have(tmp_path: Path) -> None:
    whole, _ = searched(tmp_path / "whole.db", 40)
    searched(tmp_path / "part.db", 30)
    # The last measurements of the first part are of its own front: what was measured in the end is known now.
    part, _ = searched(tmp_path / "part.db", 40)
    assert len(part.records) == 40 == len(whole.records)
    again, device = searched(tmp_path / "whole.db", 40)
    assert device.measured == [] and [r.id for r in again.records] == [r.id for r in whole.records]
