"""Several candidates at once: nothing is lost, nothing doubled, and who measures on a device does so alone."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import netwright as nw
from netwright.core.cores import KEPT, split_cores
from netwright.core.errors import CallError
from netwright.measure.base import EvaluationContext, Measurer, Place
from netwright.study.evaluate import Job, evaluate
from netwright.study.executors.base import Executor
from netwright.study.journal import read_journal
from netwright.study.stores.memory import MemoryStore
from netwright.study.stores.sqlite import SqliteStore
from netwright.study.turns import SharedTurns
from netwright.testing import FakeNet

FORK = multiprocessing.get_context("fork")
SPACE = nw.Space([nw.Choice("k", tuple(range(20)))])
OBJECTIVES = {"q": "max", "w": "max"}


def figures(candidate: nw.Candidate) -> Mapping[str, float]:
    k = int(candidate["k"])  # type: ignore[call-overload]
    return {"q": float(k % 7), "w": float(-k)}


def search(evaluate: Any, executor: Any = "local,workers=2", **more: Any) -> list[nw.Record]:
    given = {"strategy": "random", "evaluations": 20, **more}
    return nw.search(SPACE, evaluate, OBJECTIVES, executor=executor, **given)  # type: ignore[arg-type]


def front(records: list[nw.Record]) -> set[nw.Candidate]:
    return {r.candidate for r in nw.front(records)}


def test_as_many_are_evaluated_at_once_as_there_are_workers() -> None:
    barrier = FORK.Barrier(4)

    def together(candidate: nw.Candidate) -> Mapping[str, float]:
        barrier.wait(60)  # three would wait in vain
        return figures(candidate)

    records = search(together, "local,workers=4")
    assert len({r.candidate for r in records}) == 20 and {r.status for r in records} == {"ok"}


def test_one_worker_is_the_default() -> None:
    def told(executor: str) -> list[Any]:
        store = MemoryStore()
        search(figures, executor, store=store, strategy="nsga2,population=4", evaluations=12)
        return [(kind, {**body, "provenance": 0}) for kind, body in store.read()]

    assert told("local,workers=1") == told("local") == told("local,timeout=60")


@pytest.mark.parametrize("strategy", ["random,batch=2", "nsga2,population=4,batch=1", "local_search,batch=3", "guided"])
def test_each_proposal_is_a_function_of_the_journal_as_it_was(strategy: str) -> None:
    store = MemoryStore()
    search(figures, "local,workers=3", store=store, strategy=strategy, evaluations=12, seed=3)
    entries = list(store.read())
    asks = [i for i, (kind, _) in enumerate(entries) if kind == "ask"]
    assert len(asks) > 2
    for at in asks:
        before = MemoryStore()
        for kind, body in entries[:at]:
            before.append(kind, body)
        with pytest.raises(Asked):
            search(figures, Stops(before, 3), store=before, strategy=strategy, evaluations=12, seed=3)
        assert next(body for kind, body in list(before.read())[at:] if kind == "ask") == entries[at][1]


class Asked(BaseException):
    """The strategy was asked."""


class Stops(Executor):
    """Evaluates nothing, and stops the study at the next proposal."""

    def __init__(self, store: nw.Store, workers: int) -> None:
        self.store, self.workers, self.known = store, workers + 1, len(list(store.read()))

    def submit(self, job: Job) -> None:
        if any(kind == "ask" for kind, _ in self.store.read(self.known)):
            raise Asked

    def results(self, seconds: float | None = None) -> list[tuple[Job, nw.Record]]:
        return []


def test_a_proposal_is_journalled_before_it_is_evaluated(tmp_path: Path) -> None:
    path = tmp_path / "s.db"

    def asked(candidate: nw.Candidate) -> Mapping[str, float]:
        assert candidate in read_journal(SqliteStore(path)).asked
        return figures(candidate)

    assert {r.status for r in search(asked, store=path)} == {"ok"}


def take_memory() -> None:
    taken = []
    while True:
        taken.append(bytearray(os.urandom(1 << 20)) * 16)


def forever() -> None:
    while True:
        time.sleep(1)


POISON: Mapping[int, Callable[[], Any]] = {
    3: lambda: ctypes.string_at(0),
    5: forever,
    8: take_memory,
    11: lambda: os._exit(3),
    14: lambda: os.kill(os.getpid(), signal.SIGKILL),
}


def test_poison_is_failed_and_nobody_else() -> None:
    def poisoned(candidate: nw.Candidate) -> Mapping[str, float]:
        POISON.get(int(candidate["k"]), lambda: None)()  # type: ignore[call-overload]
        return figures(candidate)

    records = search(poisoned, "local,workers=3,timeout=2,memory=100 MB")
    reasons = {r.candidate["k"]: r.reason for r in records if r.status == "failed"}
    assert reasons.keys() == POISON.keys() and len(records) == 20
    for k, words in {3: "SIGSEGV", 5: "took more than 2 s", 8: "needed more than 100 MB", 11: "exit code 3"}.items():
        assert words in reasons[k]
    well = [r for r in search(figures, "local") if r.candidate["k"] not in POISON]
    assert front(records) == front(well)


SCRIPT = """
import os, sys, time, netwright as nw
def evaluate(candidate):
    k = candidate["k"]
    if {wait}:
        time.sleep(600)
    return {{"q": float(k % 7), "w": float(-k)}}
space = nw.Space([nw.Choice("k", tuple(range(20)))])
nw.search(space, evaluate, {{"q": "max", "w": "max"}}, strategy="random", evaluations=20, store=sys.argv[1],
          executor="local,workers=2")
"""


def started(folder: Path, wait: str = "False") -> subprocess.Popen[str]:
    script = folder / "s.py"
    script.write_text(SCRIPT.format(wait=wait))
    return subprocess.Popen([sys.executable, str(script), str(folder / "s.db")], stderr=subprocess.PIPE, text=True)


def records_of(path: Path) -> list[dict[str, Any]]:
    return [body for kind, body in SqliteStore(path).read() if kind == "record"] if path.exists() else []


def reached(path: Path, count: int) -> None:
    deadline = time.monotonic() + 60
    while len(records_of(path)) < count and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_and_resumed_nothing_is_lost_and_nothing_doubled(number: signal.Signals, tmp_path: Path) -> None:
    path, known = tmp_path / "s.db", list[dict[str, Any]]()
    for count in (1, 6, 13):
        # Who is measured when this many are known stands still, so that it is killed there.
        process = started(tmp_path, wait_after(count))
        reached(path, count)
        process.send_signal(number)
        said = process.communicate(timeout=60)[1]
        assert process.returncode == (-9 if number == signal.SIGKILL else 143)
        assert number == signal.SIGKILL or "the same call continues from here" in said
        found = records_of(path)
        assert found[: len(known)] == known and len(found) >= count
        known = found
    assert started(tmp_path).wait(60) == 0
    found = records_of(path)
    assert found[: len(known)] == known and len(found) == len({body["id"] for body in found}) == 20
    assert {body["status"] for body in found} == {"ok"}
    assert front(search(figures, store=path)) == front(search(figures, "local"))


def wait_after(count: int) -> str:
    """A condition of the script that is true once so many were measured."""
    sql = '__import__("sqlite3").connect(sys.argv[1]).execute("select count(*) from journal where kind=?", ("record",))'
    return f"{sql}.fetchone()[0] >= {count}"


class Interrupts(Executor):
    """Two jobs, of which one is done when the search is interrupted."""

    workers = 2
    isolates = True

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def submit(self, job: Job) -> None:
        self.jobs.append(job)

    def results(self, seconds: float | None = None) -> list[tuple[Job, nw.Record]]:
        if seconds is None:
            raise KeyboardInterrupt
        return [(self.jobs[1], evaluate(self.jobs[1]))]


def test_what_is_done_when_it_is_interrupted_is_journalled() -> None:
    store = MemoryStore()
    with pytest.raises(KeyboardInterrupt):
        search(figures, Interrupts(), store=store)
    (body,) = [body for kind, body in store.read() if kind == "record"]
    asked = [c for kind, each in store.read() if kind == "ask" for c in each["candidates"]]
    pending = next(c for c in asked if c != body["candidate"])
    records = search(figures, store=store)
    assert [dict(r.candidate) for r in records[:2]] == [body["candidate"], pending] and len(records) == 20


def test_who_runs_out_of_memory_is_evaluated_once_more_with_nobody_beside(tmp_path: Path) -> None:
    active, most = FORK.Value("i", 0), FORK.Value("i", 0)

    def full(candidate: nw.Candidate) -> Mapping[str, float]:
        with active.get_lock():
            active.value += 1
            most.value = max(most.value, active.value)
        try:
            if candidate["k"] in (4, 9) and not (mark := tmp_path / str(candidate["k"])).exists():
                mark.touch()
                raise MemoryError
            assert candidate["k"] not in (4, 9) or active.value == 1
            time.sleep(0.01)
            return figures(candidate)
        finally:
            with active.get_lock():
                active.value -= 1

    assert {(r.status, r.reason) for r in search(full, "local,workers=3")} == {("ok", "")} and most.value > 1


@pytest.mark.parametrize("workers", ["0", "-1", "1.5", "many", "1001"])
def test_what_is_no_number_of_workers_is_refused(workers: str) -> None:
    with pytest.raises(CallError, match="workers"):
        search(figures, f"local,workers={workers}")


def test_limits_beside_an_executor_are_its_own() -> None:
    with pytest.raises(CallError, match="timeout is given beside the executor"):
        search(figures, Interrupts(), timeout=3)
    with pytest.raises(CallError, match="timeout is given beside the executor"):
        search(figures, "local,timeout=4", timeout=3)
    assert len(search(figures, "local,workers=2", timeout=60, memory="1 GB")) == 20


# -- turns ------------------------------------------------------------------------------------------------------------


class Counted(Measurer):
    """Notes how many measure at once, and how many do anything."""

    depends_on_weights = True

    def __init__(self, name: str, place: Place | None, device: Any, all_: Any, seconds: float = 0.002) -> None:
        self.metrics, self._place = (nw.Metric(name),), place
        self.device, self.all, self.seconds = device, all_, seconds

    @property
    def place(self) -> Place | None:
        return self._place

    def measure(self, context: EvaluationContext) -> Mapping[str, nw.Measurement]:
        counters = [self.all] if self._place is None else [self.all, self.device]
        for value, most in counters:
            with value.get_lock():
                value.value += 1
                most.value = max(most.value, value.value)
        time.sleep(self.seconds)
        for value, _ in counters:
            with value.get_lock():
                value.value -= 1
        kept = os.environ.get(KEPT, "")
        cores = sorted(os.sched_getaffinity(0))
        return {self.metrics[0].name: nw.Measurement(1.0, details={"kept": kept, "cores": cores})}


def measured(
    place: Place, seconds: float = 0.002, executor: str = "local,workers=3", evaluations: int = 20
) -> tuple[int, int, list[nw.Record]]:
    """The most that measured at once at the place, and that did anything; and the records."""
    device, all_ = ((FORK.Value("i", 0), FORK.Value("i", 0)) for _ in range(2))
    quality, latency = (Counted(n, p, device, all_, seconds) for n, p in (("quality", None), ("latency", place)))
    study = nw.Study(MemoryStore(), FakeNet(SPACE), objectives=[quality, latency])
    records = study.run("random", evaluations, executor=executor)
    return device[1].value, all_[1].value, records


def test_one_at_a_time_measures_on_a_device_and_others_work_meanwhile() -> None:
    for place in (Place("ssh://pi", 0), Place("", 1)):
        device, all_, records = measured(place)
        assert device == 1 and all_ > (1 if split_cores(1, os.sched_getaffinity(0))[0] or not place.cores else 0)
        assert {r.status for r in records} == {"ok"}


def test_where_measuring_takes_all_cores_all_others_rest() -> None:
    device, _, records = measured(Place("", 10_000))
    details = [r.measurements["quality"].details for r in records]
    assert device == 1 and all(d["kept"] == "" for d in details)
    one_and_nobody = SharedTurns(Path(), 10_000)
    assert one_and_nobody.waited == 0.0


class Disturbed(Counted):
    """Says each first time that something else slowed it down, and each second time how many did anything."""

    calls = 0

    def measure(self, context: EvaluationContext) -> Mapping[str, nw.Measurement]:
        self.calls += 1
        if self.calls % 2:
            return {"latency": nw.Measurement(1.0, details={"warning": "the core was slower"})}
        others = 0
        for _ in range(20):
            others = max(others, self.all[0].value)
            time.sleep(0.001)
        return {"latency": nw.Measurement(2.0, details={"others": others})}


def test_what_others_may_have_disturbed_is_measured_again_while_they_rest() -> None:
    if not split_cores(1, os.sched_getaffinity(0))[0]:
        pytest.skip("with a single core the others rest anyway")
    device, all_ = ((FORK.Value("i", 0), FORK.Value("i", 0)) for _ in range(2))
    quality = Counted("quality", None, device, all_, 0.01)
    latency = Disturbed("latency", Place("", 1), device, all_)
    study = nw.Study(MemoryStore(), FakeNet(SPACE), objectives=[quality, latency])
    found = [r.measurements["latency"] for r in study.run("random", 12, executor="local,workers=3")]
    assert all(m.value == 2.0 and m.details["others"] == 0 for m in found), "measured twice, and alone then"
    assert all_[1].value > 1, "they evaluate at the same time else"


def test_cores_are_kept_for_what_measures_there() -> None:
    kept, left = split_cores(1, os.sched_getaffinity(0))
    details = [r.measurements["quality"].details for r in measured(Place("", 1))[2]]
    assert all(d["cores"] == left and d["kept"] == ",".join(map(str, kept)) for d in details)


@pytest.mark.slow
def test_waiting_for_a_turn_is_no_time_that_an_evaluation_takes() -> None:
    _, _, records = measured(Place("", 1), 1.0, "local,workers=4,timeout=3", 4)
    assert {r.status for r in records} == {"ok"}, "each takes two seconds, and waits for three others"
