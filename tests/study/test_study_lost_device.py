"""A device that is gone for a while, or for good: networks are not to blame."""

from __future__ import annotations

from pathlib import Path

import pytest

import netwright as nw
from netwright.core.errors import DeviceLost
from netwright.core.metric import Metric
from netwright.study.study import Study
from netwright.testing import FakeMeasurer, FakeNet

SPACE = nw.Space([nw.Choice("a", (1, 2, 3, 4)), nw.Choice("b", (1, 2, 3))])


class Device(FakeMeasurer):
    """Gone when it is asked for the first, second, ... time that ``gone`` says."""

    def __init__(self, gone: set[int]) -> None:
        super().__init__(Metric("latency", "ms"), self.area, on_device=True)
        self.gone = gone

    @property
    def asked(self) -> int:
        return self.calls.total()

    def area(self, candidate: nw.Candidate) -> float:
        if self.asked in self.gone:
            raise DeviceLost("the agent at ssh://pi cannot be reached, tried for 600 s")
        return float(candidate["a"] * candidate["b"])  # type: ignore[operator]


def test_a_device_that_comes_back_measures_again_what_was_on_its_way(tmp_path: Path) -> None:
    device = Device(gone={3, 7})
    study = Study(tmp_path / "s.db", FakeNet(SPACE), objectives=[device], calibration=())
    records = study.run(nw.Random(), 12)
    assert len(records) == 12 and all(r.status == "ok" for r in records) and device.asked == 14


def test_a_device_that_stays_away_stops_the_study_and_nothing_is_lost(tmp_path: Path) -> None:
    study = Study(tmp_path / "s.db", FakeNet(SPACE), objectives=[Device(gone=set(range(5, 100)))], calibration=())
    with pytest.raises(DeviceLost, match=r"cannot be reached.*the study is kept"):
        study.run(nw.Random(), 12)
    assert [r.status for r in study.records].count("ok") == 4
    lost = [r for r in study.records if r.status == "failed"]
    assert lost and all("cannot be reached" in r.reason for r in lost)
    device = Device(gone=set())
    again = Study(tmp_path / "s.db", FakeNet(SPACE), objectives=[device], calibration=())
    assert all(r.status == "ok" for r in again.run(nw.Random(), 12)) and device.asked == 8
