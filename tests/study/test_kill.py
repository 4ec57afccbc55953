"""Killed at any moment, a search loses nothing and goes on as if it had not been killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

import netwright as nw
from netwright.core.candidate import Candidate
from netwright.study.stores.base import Store
from netwright.study.stores.memory import MemoryStore
from netwright.study.stores.sqlite import SqliteStore

SCRIPT = """
import os, signal, sys, time
import netwright as nw
from netwright.study.stores.sqlite import SqliteStore

path, log, strategy, deadly = sys.argv[1], open(sys.argv[2], "a", buffering=1), sys.argv[3], int(sys.argv[4])
append, appended = SqliteStore.append, 0

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def counted(self, kind, body):
    global appended
    appended += 1
    if appended == deadly:
        die()       # before it is written
    append(self, kind, body)
    if appended == -deadly:
        die()       # right after

SqliteStore.append = counted

def evaluate(candidate):
    print("begin", candidate.key, file=log)
    time.sleep(0.003)
    values = list(candidate.values())
    if sum(values) % 7 == 0:
        raise RuntimeError("seven")
    print("end", candidate.key, file=log)
    return {"q": sum(v ** 0.5 for v in values), "heat": max(values)}

space = nw.Space([nw.Choice(f"k{i}", (1, 2, 3)) for i in range(6)] + [nw.Choice("z", (1, 5), when={"k0": 2})])
made = {"random": nw.Random(), "nsga2": nw.Nsga2(batch=5, population=8)}[strategy]
nw.search(space, evaluate, {"q": "max", "cost": "min"}, exact=lambda c: {"cost": sum(c.values())},
          limits=["cost <= 16"], strategy=made, evaluations=26, seed=3, store=path)
assert "torch" not in sys.modules
"""


class Runs:
    """The script, in a directory of its own."""

    def __init__(self, folder: Path, strategy: str) -> None:
        self.script, self.path, self.log, self.strategy = folder / "s.py", folder / "s.db", folder / "log", strategy
        self.script.write_text(SCRIPT)
        self.kills = 0

    def start(self, deadly: int = 0) -> subprocess.Popen[bytes]:
        self.log.touch()
        return subprocess.Popen([sys.executable, *map(str, (self.script, self.path, self.log, self.strategy, deadly))])

    def run(self, deadly: int = 0) -> int:
        code = self.start(deadly).wait(60)
        self.kills += code == -signal.SIGKILL
        return code

    def killed_when(self, lines: int, delay: float) -> int:
        """Killed from outside, a moment after the log has so many more lines."""
        process, wanted = self.start(), self.lines() + lines
        deadline = time.monotonic() + 30
        while process.poll() is None and self.lines() < wanted and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(delay)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        code = process.wait(30)
        self.kills += code == -signal.SIGKILL
        return code

    def lines(self) -> int:
        return len(self.log.read_text().splitlines())

    def said(self, word: str) -> Counter[str]:
        return Counter(x.partition(" ")[2] for x in self.log.read_text().splitlines() if x.startswith(word))

    @property
    def journal(self) -> list[str]:
        return timeless(SqliteStore(self.path))


def timeless(store: Store) -> list[str]:
    """A journal without times, and without what it says of those who were interrupted or killed."""
    entries = []
    for kind, body in store.read():
        if kind == "attempt":
            continue
        body = json.loads(json.dumps(body))
        for name in ("time", "seconds"):
            body.get("provenance", {}).pop(name, None)
        entries.append(f"{kind} {json.dumps(body, sort_keys=True)}")
    return entries


@pytest.fixture(scope="module", params=["random", "nsga2"])
def undisturbed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    runs = Runs(tmp_path_factory.mktemp("undisturbed"), request.param)
    assert runs.run() == 0
    assert max(runs.said("begin").values()) == 1 and len(runs.said("begin")) == 26
    return runs


def check(runs: Runs, undisturbed: Runs) -> None:
    assert runs.journal == undisturbed.journal
    begun = runs.said("begin")
    assert begun.keys() == undisturbed.said("begin").keys()
    assert max(begun.values()) <= 1 + runs.kills
    assert sum(begun.values()) <= len(begun) + runs.kills, "each kill costs at most the one in flight"


def test_killed_from_outside_at_random_moments(undisturbed: Runs, tmp_path: Path) -> None:
    runs, draw = Runs(tmp_path, undisturbed.strategy), random.Random(undisturbed.strategy)
    for _ in range(4):
        runs.killed_when(draw.randrange(1, 12), draw.random() * 0.01)
    assert runs.kills >= 3
    assert runs.run() == 0
    check(runs, undisturbed)


def test_killed_right_before_and_after_an_entry(undisturbed: Runs, tmp_path: Path) -> None:
    runs = Runs(tmp_path, undisturbed.strategy)
    # The header, the limits, an ask, records: one kill after another in the same study.
    for deadly in (1, -1, -1, 1, -2, 7, -9):
        assert runs.run(deadly) == -signal.SIGKILL, deadly
    assert runs.run() == 0
    check(runs, undisturbed)


def test_done_is_done(undisturbed: Runs) -> None:
    before, lines = undisturbed.path.read_bytes(), undisturbed.lines()
    assert undisturbed.run() == 0
    assert undisturbed.path.read_bytes() == before and undisturbed.lines() == lines


class Interrupt(BaseException):
    pass


@pytest.mark.parametrize("strategy", [nw.Guided(batch=3, start=6, population=12, generations=2), nw.Nsga2(4, 6)])
@pytest.mark.parametrize("limits", [[], ["q >= 6", "heat <= 2"]])
def test_interrupted_again_and_again(strategy: nw.Strategy, limits: list[str]) -> None:
    """The same in one process: every third evaluation and every fourth entry ends the run."""
    space = nw.Space([nw.Choice(f"k{i}", (1, 2, 3)) for i in range(8)])
    calls: Counter[Candidate] = Counter()
    deadly = False
    ticks = 0

    def tick(every: int) -> None:
        nonlocal ticks
        ticks += 1
        if deadly and ticks % every == 0:
            raise Interrupt

    class Mortal(MemoryStore):
        def append(self, kind: str, body: object) -> None:
            tick(4)
            super().append(kind, body)  # type: ignore[arg-type]

    def evaluate(candidate: Candidate) -> dict[str, float]:
        tick(3)
        calls[candidate] += 1
        return {"q": sum(v**0.5 for v in candidate.values()), "heat": max(candidate.values())}  # type: ignore[misc, operator, type-var]

    def go(store: Store) -> list[nw.Record]:
        try:
            return nw.search(
                space, evaluate, {"q": "max", "cost": "min"}, exact=lambda c: {"cost": sum(c.values())},  # type: ignore[arg-type]
                limits=limits, strategy=strategy, evaluations=20, seed=1, store=store,
            )  # fmt: skip
        except nw.NetwrightError:
            return []  # nothing feasible: the journal tells the same

    whole, broken = MemoryStore(), Mortal()
    go(whole)
    calls.clear()
    deadly = True
    for _ in range(200):
        try:
            go(broken)
            break
        except Interrupt:
            continue
    else:
        pytest.fail("no end")
    assert timeless(broken) == timeless(whole)
    assert ticks > 30
