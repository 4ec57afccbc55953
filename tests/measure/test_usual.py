"""What is usual on a machine: kept between processes, followed, and never in the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from netwright.measure import usual as module
from netwright.measure.protocol import Readings
from netwright.measure.usual import APART_S, KEPT, Usual


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, as a list of one number."""
    now = [1e9]
    monkeypatch.setattr(module.time, "time", lambda: now[0])
    return now


def noted(usual: Usual, clock: list[float], *cores: float) -> None:
    for core in cores:
        clock[0] += APART_S
        usual.note(Readings(core, 2 * core))


def test_it_is_the_median_of_what_was_read(tmp_path: Path, clock: list[float]) -> None:
    path = tmp_path / "a" / "machine.json"
    assert Usual(path).get() is None
    noted(Usual(path), clock, 1.0, 9.0, 2.0)
    assert Usual(path).get() == Readings(2.0, 4.0), "another process reads what one has kept"
    assert [p.name for p in path.parent.iterdir()] == ["machine.json"], "nothing is left beside it"


def test_readings_of_the_same_moments_count_once(tmp_path: Path, clock: list[float]) -> None:
    usual = Usual(tmp_path / "m.json")
    noted(usual, clock, 1.0)
    for _ in range(10):
        clock[0] += APART_S / 20
        usual.note(Readings(5.0, 5.0))
    assert usual.get() == Readings(1.0, 2.0)
    clock[0] = 0.0  # a clock that was set back does not stop it
    usual.note(Readings(3.0, 6.0))
    assert usual.get() == Readings(2.0, 4.0)


def test_it_follows_a_machine_that_settles_elsewhere(tmp_path: Path, clock: list[float]) -> None:
    usual = Usual(tmp_path / "m.json")
    noted(usual, clock, *[1.0] * (KEPT // 2), *[3.0] * (KEPT // 2 + 1))
    assert usual.get() == Readings(3.0, 6.0)
    noted(usual, clock, *[1.0] * KEPT)
    assert usual.get() == Readings(1.0, 2.0), "the oldest are forgotten"


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", '[["a", 1, 2]]', '{"a": 1}', "null"])
def test_a_broken_file_is_begun_anew(tmp_path: Path, clock: list[float], text: str) -> None:
    path = tmp_path / "m.json"
    path.write_text(text)
    assert Usual(path).get() is None
    noted(Usual(path), clock, 1.0)
    assert Usual(path).get() == Readings(1.0, 2.0)


def test_what_cannot_be_written_is_not_kept(tmp_path: Path, clock: list[float]) -> None:
    (tmp_path / "file").write_text("")
    usual = Usual(tmp_path / "file" / "m.json")
    noted(usual, clock, 1.0)
    assert usual.get() is None
