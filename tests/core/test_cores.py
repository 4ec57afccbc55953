"""Which cores are kept for measuring, on machines of all kinds."""

from __future__ import annotations

from pathlib import Path

import pytest

from netwright.core import cores


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cores, "CPUS", tmp_path)
    return tmp_path


def core(machine: Path, number: int, twins: str = "", khz: int = 0) -> None:
    for name, text in (("topology/thread_siblings_list", twins), ("cpufreq/cpuinfo_max_freq", str(khz or ""))):
        if text:
            path = machine / f"cpu{number}" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n")


def test_the_fastest_are_kept(machine: Path) -> None:
    for number, khz in enumerate((1000, 3000, 3000, 1000)):
        core(machine, number, khz=khz)
    assert cores.split_cores(1, range(4)) == ([2], [0, 1, 3])
    assert cores.split_cores(2, range(4)) == ([1, 2], [0, 3])
    assert cores.split_cores(1, [0, 3]) == ([3], [0])


def test_both_threads_of_a_core_are_kept(machine: Path) -> None:
    for number in range(4):
        core(machine, number, twins=f"{number % 2},{number % 2 + 2}")
    assert cores.split_cores(1, range(4)) == ([1, 3], [0, 2])
    assert cores.split_cores(1, [0, 2]) == ([], [0, 2]), "two threads of one core"


def test_none_are_kept_where_none_would_be_left(machine: Path) -> None:
    assert cores.split_cores(2, [0, 1]) == ([], [0, 1])
    assert cores.split_cores(1, [5]) == ([], [5])
