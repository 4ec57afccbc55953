"""Two processes and one study: they do not measure the same networks, and none that died is waited for."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

import netwright as nw
from netwright.core.errors import StoreError
from netwright.study.journal import read_journal
from netwright.study.stores.memory import MemoryStore
from netwright.study.stores.sqlite import SqliteStore
from netwright.testing import FakeMeasurer, FakeNet

SPACE = nw.Space([nw.Choice(f"k{i}", (1, 2, 3)) for i in range(4)])
FORK = multiprocessing.get_context("fork")


def search(store: Any, evaluate: Any, evaluations: int = 8) -> list[nw.Record]:
    return nw.search(SPACE, evaluate, {"q": "max"}, strategy=nw.Random(), evaluations=evaluations, store=store)


def value(candidate: nw.Candidate) -> Mapping[str, float]:
    return {"q": sum(candidate.values())}  # type: ignore[dict-item, arg-type]


def hang_in_the_third(path: Path, reached: Any, child: bool) -> None:
    """A search that stands still in its third evaluation; with a child of its own, which does nothing for long."""
    os.setpgid(0, 0)  # both can be ended together
    count = 0

    def evaluate(candidate: nw.Candidate) -> Mapping[str, float]:
        nonlocal count
        count += 1
        if count == 3:
            if child and not os.fork():
                signal.pause()
            reached.set()
            signal.pause()
        return value(candidate)

    search(path, evaluate)


@pytest.mark.parametrize("child", [False, True])
def test_the_second_is_refused_while_the_first_lives_and_goes_on_when_it_is_dead(tmp_path: Path, child: bool) -> None:
    path, reached = tmp_path / "s.db", FORK.Event()
    first = FORK.Process(target=hang_in_the_third, args=(path, reached, child))
    first.start()
    try:
        assert reached.wait(30)
        calls = Counter[nw.Candidate]()
        with pytest.raises(StoreError, match=f"searched with by another process .number {first.pid} on "):
            search(path, calls.update)
        assert not calls and len(read_journal(SqliteStore(path)).records) == 2, "it may be looked at all the while"
    finally:
        os.kill(first.pid or 0, signal.SIGKILL)
        first.join()
    again = Counter[nw.Candidate]()

    def counted(candidate: nw.Candidate) -> Mapping[str, float]:
        again[candidate] += 1
        return value(candidate)

    try:
        records = search(path, counted)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(first.pid or 0, signal.SIGKILL)
    assert len(records) == 8 and again.total() == 6
    assert [r.candidate for r in records] == [r.candidate for r in search(MemoryStore(), value)]
    assert [p.name for p in tmp_path.iterdir()] == ["s.db"]


def test_two_threads_of_one_process_do_not_either(tmp_path: Path) -> None:
    path, reached, go_on = tmp_path / "s.db", Event(), Event()

    def slow(candidate: nw.Candidate) -> Mapping[str, float]:
        reached.set()
        assert go_on.wait(30)
        return value(candidate)

    first = Thread(target=search, args=(path, slow))
    first.start()
    try:
        assert reached.wait(30)
        for _ in range(2):
            with pytest.raises(StoreError, match="by this process already"):
                search(path, value)
    finally:
        go_on.set()
        first.join()
    assert len(search(path, value)) == 8


def test_what_another_process_measured_since_the_study_was_opened_is_known(tmp_path: Path) -> None:
    calls = Counter[nw.Candidate]()

    def counted(candidate: nw.Candidate) -> Mapping[str, float]:
        calls[candidate] += 1
        return value(candidate)

    quality = FakeMeasurer(nw.Metric("q", direction="max"), lambda c: counted(c)["q"])
    early, late = (nw.Study(tmp_path / "s.db", FakeNet(SPACE), objectives=[quality]) for _ in range(2))
    early.run(nw.Random(), 6)
    assert len(late.run(nw.Random(), 9)) == 9 and calls.total() == 9 == len(calls)


def create(path: Path, start: Any, seed: int) -> None:
    start.wait()
    try:
        nw.search(SPACE, value, {"q": "max"}, strategy=nw.Random(), evaluations=2, store=path, seed=seed)
    except StoreError as error:
        sys.exit(1 if "another" in str(error) else 2)


def test_begun_by_many_at_once_it_is_one_study(tmp_path: Path) -> None:
    start = FORK.Barrier(6)
    both = [FORK.Process(target=create, args=(tmp_path / "s.db", start, seed)) for seed in range(6)]
    for process in both:
        process.start()
    for process in both:
        process.join(30)
    codes = Counter(process.exitcode for process in both)
    assert codes[0] >= 1 and codes[2] == 0, codes
    entries = [kind for kind, _ in SqliteStore(tmp_path / "s.db").read()]
    assert entries.count("study") == 1 and entries.count("record") == 2
    assert [p.name for p in tmp_path.iterdir()] == ["s.db"]
