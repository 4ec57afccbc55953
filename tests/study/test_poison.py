"""A candidate at which the process ends is given up after the third time; one at which it is interrupted never is."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

import netwright as nw
from netwright.core.candidate import Candidate
from netwright.core.metric import Measurement
from netwright.measure.base import EvaluationContext, Measurer
from netwright.study.stores.memory import MemoryStore
from netwright.study.stores.sqlite import SqliteStore
from netwright.testing import FakeMeasurer

SPACE = nw.Space([nw.Choice("k", tuple(range(12)))])

SCRIPT = """
import ctypes, os, signal, sys
import netwright as nw

def evaluate(candidate):
    if candidate["k"] == 5:
        {poison}
    return {{"q": candidate["k"], "w": -candidate["k"]}}

space = nw.Space([nw.Choice("k", tuple(range(12)))])
nw.search(space, evaluate, {{"q": "max", "w": "max"}}, strategy=nw.Random(), evaluations=12, store=sys.argv[1])
"""


def started(tmp_path: Path, poison: str) -> Callable[[], int]:
    script = tmp_path / "s.py"
    script.write_text(SCRIPT.format(poison=poison))
    command = [sys.executable, str(script), str(tmp_path / "s.db")]
    return lambda: subprocess.run(command, timeout=60, stderr=subprocess.DEVNULL).returncode


def of_five(store: nw.Store | Path) -> nw.Record:
    store = SqliteStore(store) if isinstance(store, Path) else store
    return next(r for r in nw.Study(store, Searched(), objectives=[Fixed()]).records if r.candidate["k"] == 5)


@pytest.mark.parametrize(
    ("poison", "code"),
    [("ctypes.string_at(0)", -signal.SIGSEGV), ("os._exit(0)", 0), ("os.kill(os.getpid(), 9)", -signal.SIGKILL)],
)
def test_the_third_resume_goes_on(tmp_path: Path, poison: str, code: int) -> None:
    run = started(tmp_path, poison)
    for attempt in range(3):
        assert run() == code
        kinds = Counter(kind for kind, _ in SqliteStore(tmp_path / "s.db").read())
        assert kinds["attempt"] == attempt
    assert run() == 0
    entries = list(SqliteStore(tmp_path / "s.db").read())
    records = [body for kind, body in entries if kind == "record"]
    assert len(records) == 12
    failed = [body for body in records if body["status"] == "failed"]
    assert [body["candidate"] for body in failed] == [{"k": 5}]
    assert "the process ended 3 times" in failed[0]["reason"]


@pytest.mark.parametrize("poison", ["sys.exit(3)", "raise SystemExit", "raise GeneratorExit"])
def test_code_that_leaves_is_a_failed_network(tmp_path: Path, poison: str) -> None:
    assert started(tmp_path, poison)() == 0
    (failed,) = [b for kind, b in SqliteStore(tmp_path / "s.db").read() if kind == "record" and b["status"] == "failed"]
    assert failed["candidate"] == {"k": 5} and "ends the process" in failed["reason"]


def test_a_handler_of_a_signal_ends_the_process_whatever_runs(tmp_path: Path) -> None:
    """Also where it does so by SystemExit, as many do."""
    leave = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); os.kill(os.getpid(), signal.SIGTERM)"
    run = started(tmp_path, leave)
    assert [run() for _ in range(5)] == [7] * 5, "asked to end at the same network, which is not to blame"


class Searched:
    space = SPACE

    def extract(self, candidate: Candidate) -> object:
        raise NotImplementedError


class Fixed(Measurer):
    """Measures; ends as it is told at k = 5."""

    metrics = (nw.Metric("q", direction="max"),)
    on_device = True

    def __init__(self, ends: Callable[[], None] = lambda: None, at: int = 5) -> None:
        self.ends, self.at, self.calls = ends, at, 0

    def measure(self, context: EvaluationContext) -> dict[str, Measurement]:
        if context.candidate["k"] == self.at:
            self.calls += 1
            self.ends()
        return {"q": Measurement(float(context.candidate["k"]))}  # type: ignore[arg-type]


def interrupt() -> None:
    raise KeyboardInterrupt


def test_interrupted_again_and_again_a_network_is_not_to_blame() -> None:
    store = MemoryStore()
    for _ in range(5):
        with pytest.raises(KeyboardInterrupt):
            nw.Study(store, Searched(), objectives=[Fixed(interrupt)]).run(nw.Random(), 12)
    assert all(r.status == "ok" for r in nw.Study(store, Searched(), objectives=[Fixed()]).run(nw.Random(), 12))


class Crash(BaseException):
    """Stands for a process that is gone: nothing is journalled any more."""


class Mortal(MemoryStore):
    dead = False

    def append(self, kind: str, body: object) -> None:
        if self.dead:
            raise Crash
        super().append(kind, body)  # type: ignore[arg-type]

    def crash(self) -> None:
        self.dead = True
        raise Crash


def crashed(store: Mortal, run: Callable[[nw.Study], object], at: int = 5) -> bool:
    store.dead = False
    try:
        run(nw.Study(store, Searched(), objectives=[Fixed(store.crash, at)]))
    except Crash:
        return True
    return False


def test_an_interruption_between_crashes_begins_anew() -> None:
    store = Mortal()

    def run(study: nw.Study) -> object:
        return study.run(nw.Random(), 12)

    assert crashed(store, run) and crashed(store, run)
    with pytest.raises(KeyboardInterrupt):
        store.dead = False
        run(nw.Study(store, Searched(), objectives=[Fixed(interrupt)]))
    assert [crashed(store, run) for _ in range(4)] == [True, True, True, False]
    assert of_five(store).status == "failed"


def test_a_probe_that_ends_the_process_is_given_up_too() -> None:
    store = Mortal()
    assert [crashed(store, nw.Study.probe, at=0) for _ in range(5)] == [True, True, True, False, False]
    (record,) = nw.Study(store, Searched(), objectives=[Fixed()]).records
    assert record.candidate == SPACE.smallest and record.status == "failed"


def test_a_probe_that_succeeds_counts_no_attempt_and_forgives_none() -> None:
    store = Mortal()
    for _ in range(5):
        nw.Study(store, Searched(), objectives=[Fixed()]).probe()
    ok = nw.Study(store, Searched(), objectives=[Fixed()])
    assert not ok.records and all(n == 0 for n in ok.journal.attempts.values())

    class Dies(Fixed):
        """Fails the search, but not the probe."""

        def measure(self, context: EvaluationContext) -> dict[str, Measurement]:
            if self.calls and context.candidate["k"] == 0:
                store.crash()
            self.calls += 1
            return super().measure(context)

    ended = []
    for _ in range(5):
        store.dead = False
        study = nw.Study(store, Searched(), objectives=[Dies(at=-1)])
        try:
            study.probe()
            study.run(nw.Random(), 12)
            ended.append(False)
        except Crash:
            ended.append(True)
    assert ended == [True, True, True, False, False]


def test_the_one_under_way_is_blamed_and_not_those_behind_it() -> None:
    """Of a batch, whoever is first without a record."""
    store = Mortal()
    asked: list[int] = []

    def run(study: nw.Study) -> object:
        return study.run(nw.Random(batch=12), 12, lambda step: asked.append(step.record.candidate["k"]))  # type: ignore[arg-type]

    assert [crashed(store, run) for _ in range(4)] == [True, True, True, False]
    failed = [
        r.candidate["k"] for r in nw.Study(store, Searched(), objectives=[Fixed()]).records if r.status == "failed"
    ]
    assert failed == [5] and sorted(asked) == list(range(12))


class Foretells(nw.Random):
    """Knows what a device will say."""

    def predict_metrics(self, problem, history, candidate, names):  # type: ignore[no-untyped-def]
        value = float(candidate["k"] + 1)
        return dict.fromkeys(names, (value, value / 1000))


def test_what_was_predicted_and_ends_the_process_when_it_is_measured_is_given_up_too() -> None:
    store = Mortal()

    def latency(candidate: Candidate) -> float:
        if candidate["k"] == 5:
            store.crash()
        return float(candidate["k"] + 1)  # type: ignore[operator]

    def run() -> bool:
        store.dead = False
        quality = FakeMeasurer(nw.Metric("q", direction="max"), lambda c: float(c["k"]))  # type: ignore[arg-type]
        device = FakeMeasurer(nw.Metric("latency"), latency, on_device=True, seconds=10.0)
        try:
            nw.Study(store, Searched(), objectives=[quality, device]).run(Foretells(batch=2), 12)
        except Crash:
            return True
        return False

    assert [run() for _ in range(5)] == [True, True, True, False, False]
    records = [body for kind, body in store.read() if kind == "record"]
    assert {
        body["measurements"]["latency"]["kind"]
        for body in records
        if body["candidate"]["k"] == 5 and body["measurements"]
    } == {"predicted"}
    last = {body["candidate"]["k"]: body for body in records}
    assert [k for k, body in last.items() if body["status"] == "failed"] == [5] and len(last) == 12
    assert all(body["measurements"]["latency"]["kind"] == "measured" for k, body in last.items() if k != 5)


def test_retry_tries_it_three_times_more() -> None:
    store = Mortal()

    def run(study: nw.Study) -> object:
        return study.run(nw.Random(), 12, retry="failed")

    tried = [crashed(store, run) for _ in range(8)]
    assert tried == [True, True, True, False] * 2
