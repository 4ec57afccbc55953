"""A device that is gone for a while, or for good: networks are not to blame."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

import netwright as nw
from netwright.core.errors import DeviceLost
from netwright.core.metric import Measurement, Metric
from netwright.measure.base import EvaluationContext, Measurer
from netwright.study.study import Study


class Net:
    space = nw.Space([nw.Choice("a", (1, 2, 3, 4)), nw.Choice("b", (1, 2, 3))])

    def extract(self, candidate: nw.Candidate) -> object:
        raise AssertionError("nothing here needs the network")


class Device(Measurer):
    metrics = (Metric("latency", "ms", "min"),)
    on_device = True

    def __init__(self, gone: set[int]) -> None:
        self.asked, self.gone = 0, gone

    def measure(self, context: EvaluationContext) -> Mapping[str, Measurement]:
        self.asked += 1
        if self.asked in self.gone:
            raise DeviceLost("the agent at ssh://pi cannot be reached, tried for 600 s")
        return {"latency": Measurement(float(context.candidate["a"] * context.candidate["b"]), "ms")}


def test_a_device_that_comes_back_measures_again_what_was_on_its_way(tmp_path: Path) -> None:
    device = Device(gone={3, 7})
    study = Study(tmp_path / "s.db", Net(), objectives=[device], calibration=())
    records = study.run(nw.Random(), 12)
    assert len(records) == 12 and all(r.status == "ok" for r in records) and device.asked == 14


def test_a_device_that_stays_away_stops_the_study_and_nothing_is_lost(tmp_path: Path) -> None:
    study = Study(tmp_path / "s.db", Net(), objectives=[Device(gone=set(range(5, 100)))], calibration=())
    with pytest.raises(DeviceLost, match=r"cannot be reached.*the study is kept"):
        study.run(nw.Random(), 12)
    assert [r.status for r in study.records].count("ok") == 4
    lost = [r for r in study.records if r.status == "failed"]
    assert lost and all("cannot be reached" in r.reason for r in lost)
    device = Device(gone=set())
    again = Study(tmp_path / "s.db", Net(), objectives=[device], calibration=())
    assert all(r.status == "ok" for r in again.run(nw.Random(), 12)) and device.asked == 8
