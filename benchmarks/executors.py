"""Several evaluations at once: how many a second, what a study adds to each, and what survives.

* ``throughput``: evaluations of a millisecond each (they sleep), a second, in this process and in others, with the
  study in a file; and beside it the same with the journal in memory, which no disk slows down; and the CPU time of the
  process that asks, in ms for each. With Ray, where it is installed, starting its two workers is among the time.
* ``overhead``: what the study adds to an evaluation that costs nothing, in ms, for a journal of so many records.
* ``faults``: a search by two workers, one candidate of which crashes, one hangs and one takes all memory, and whose
  workers and whose own process are killed at random moments. Every record that was there stays as it was, none is
  doubled, statuses are right, and the front is that of a search that nothing disturbs.
* ``drivers``: the same search, without its poisons, by two drivers with one study in PostgreSQL: either of them is
  killed at random moments, the server goes down in between, and nothing is doubled or lost. Before that, evaluations of
  a millisecond a second by one driver and by two, in turn, in a study of such a server; and the drivers' CPU time for
  each, starting them included. Skipped without psycopg and a server.
* ``digits``: the search of the digits by one worker and by two, of the same trained super-network: seconds, and the
  median of the ratios of the latencies of networks that both have measured (1 where they do not disturb each other).

Measured on two free cores (Zen 4): 266 evaluations of 1 ms a second by one worker with the journal in a file, 505 by
two (582 and 928 in memory); what a study adds to an evaluation is 2.3 ms at 1,000 records and 2.6 at 3,000.
The digits' search is 1.26 times as fast by two workers, and latencies are 1.12 times those by one: two cores of that
virtual machine slow each other down at times.
With two cores that other programs use too: 344, 346 and 310 evaluations of 1 ms a second by one driver of a study in
PostgreSQL, in turn 404, 367 and 330 by two.

    python benchmarks/executors.py                  # all of it: minutes
    python benchmarks/executors.py --short --only faults
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Container, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import netwright as nw
from netwright.study.journal import read_journal
from netwright.study.stores import open_store
from netwright.study.stores.memory import MemoryStore
from netwright.study.stores.sqlite import SqliteStore

SPACE = {f"k{i}": (0, 1, 2) for i in range(10)}
SMALL = {"a": tuple(range(15)), "b": tuple(range(20))}
OBJECTIVES = {"q": "max", "w": "min"}
POISON = {37: "segfault", 101: "hang", 173: "memory"}
"""Numbers of candidates, and what they do."""


def millisecond(candidate: nw.Candidate) -> Mapping[str, float]:
    """An evaluation that takes a millisecond."""
    time.sleep(0.001)
    return nothing(candidate)


def nothing(candidate: nw.Candidate) -> Mapping[str, float]:
    """One that takes no time."""
    values = [int(v) for v in candidate.values()]  # type: ignore[arg-type]
    return {"q": float(sum(values)), "w": float(values[0])}


def rate(store: Any, executor: str, evaluations: int) -> tuple[float, float]:
    """Evaluations a second, of a search that has begun already; and CPU time here, in ms for each."""
    given: dict[str, Any] = {"strategy": "random", "store": store, "executor": executor}
    nw.search(SPACE, millisecond, OBJECTIVES, evaluations=10, **given)  # type: ignore[arg-type]
    begin, cpu = time.perf_counter(), time.process_time()
    nw.search(SPACE, millisecond, OBJECTIVES, evaluations=10 + evaluations, **given)  # type: ignore[arg-type]
    each = 1000 * (time.process_time() - cpu) / evaluations
    return evaluations / (time.perf_counter() - begin), each


def throughput(short: bool) -> bool:
    """Print it."""
    print(f"{'evaluations of 1 ms, a second':<34}{'in a file':>12}{'in memory':>12}{'CPU, ms':>12}")
    number, found = 200 if short else 1000, {}
    executors = ["local", "local,workers=2", "local,workers=4", *(["ray,workers=2"] if find_spec("ray") else [])]
    for executor in executors:
        with tempfile.TemporaryDirectory() as folder:
            file, _ = rate(Path(folder) / "s.db", executor, number)
        # Of few evaluations starting a cluster's workers would be most of the time.
        found[executor], cpu = rate(MemoryStore(), executor, 1000 if executor.startswith("ray") else number)
        print(f"{executor:<34}{file:>12.0f}{found[executor]:>12.0f}{cpu:>12.2f}", flush=True)
    return found["local,workers=2"] >= 500 and found.get("ray,workers=2", 200) >= 200


def overhead(short: bool) -> bool:
    """Print it."""
    print(f"{'records':<34}{'ms each':>12}")
    with tempfile.TemporaryDirectory() as folder:
        path, before = Path(folder) / "s.db", 0
        for records in (200, 1000) if short else (1000, 3000):
            search = {"strategy": "random,batch=50", "store": path}
            nw.search(SPACE, nothing, OBJECTIVES, evaluations=records - 100, **search)  # type: ignore[arg-type]
            begin = time.perf_counter()
            nw.search(SPACE, nothing, OBJECTIVES, evaluations=records, **search)  # type: ignore[arg-type]
            each = 10 * (time.perf_counter() - begin)
            print(f"{records:<34}{each:>12.2f}", flush=True)
            before = records
    return before > 0


# -- faults ----------------------------------------------------------------------------------------------------------


def poisoned(candidate: nw.Candidate) -> Mapping[str, float]:
    """What is searched: an evaluation of some milliseconds, of which three do what none should."""
    number = 20 * int(candidate["a"]) + int(candidate["b"])  # type: ignore[arg-type]
    match POISON.get(number):
        case "segfault":
            ctypes.string_at(0)
        case "hang":
            time.sleep(600)
        case "memory":
            taken = []
            while True:
                taken.append(bytearray(os.urandom(1 << 20)) * 16)
    time.sleep(0.02)
    return figures(number)


def figures(number: int) -> dict[str, float]:
    """What a candidate's number makes of it."""
    return {"q": float(number * 7919 % 101), "w": float(number * 104729 % 97)}


def survives(store: str, executor: str) -> list[nw.Record]:
    """The search, begun or gone on with."""
    given: dict[str, Any] = {"strategy": "random", "evaluations": 300, "store": store, "executor": executor}
    return nw.search(SMALL, poisoned, OBJECTIVES, **given)  # type: ignore[arg-type]


def faults(short: bool) -> bool:
    """Kill, go on, and compare; prints what is wrong."""
    rng, kills, wrong = np.random.default_rng(0), 6 if short else 20, []
    with tempfile.TemporaryDirectory() as folder:
        path, known = Path(folder) / "s.db", list[dict[str, Any]]()
        command = [sys.executable, __file__, "--search", str(path)]
        for number in range(kills):
            process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
            time.sleep(float(rng.uniform(0.8, 2.5)))
            if number % 2:  # one of its workers, and itself a moment later
                for worker in workers_of(process.pid)[:1]:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(worker, signal.SIGKILL)
                time.sleep(float(rng.uniform(0.1, 0.5)))
            process.kill()
            process.wait()
            found = records_of(path)
            wrong += [] if found[: len(known)] == known else [f"kill {number}: what was measured has changed"]
            known = found
        done = subprocess.run(command, stderr=subprocess.DEVNULL).returncode
        found = records_of(path)
        statuses = {20 * r["candidate"]["a"] + r["candidate"]["b"]: r["status"] for r in found}
        failed = {number for number, status in statuses.items() if status == "failed"}
        wrong += [] if not done else [f"the last search ended with {done}"]
        wrong += [] if len(found) == len(statuses) == 300 else [f"{len(found)} records of {len(statuses)} networks"]
        wrong += [] if failed == set(POISON) else [f"failed are {sorted(failed)}, not {sorted(POISON)}"]
        best = {r.candidate for r in read_journal(SqliteStore(path)).front}
    wrong += [] if best == undisturbed(POISON) else ["the front is another than that of an undisturbed search"]
    print(f"{kills} kills among {len(POISON)} poisons, {len(known)} of 300 records at the last: {wrong or 'all well'}")
    return not wrong


def undisturbed(poison: Container[int]) -> set[nw.Candidate]:
    """The front of all that can be measured, by exhaustion."""
    points = {}
    for a, b in ((a, b) for a in SMALL["a"] for b in SMALL["b"] if 20 * a + b not in poison):
        found = figures(20 * a + b)
        points[nw.Candidate({"a": a, "b": b})] = (-found["q"], found["w"])
    return {
        c for c, p in points.items()
        if not any(q[0] <= p[0] and q[1] <= p[1] and q != p for q in points.values())
    }  # fmt: skip


def workers_of(parent: int) -> list[int]:
    """The processes that a search evaluates in."""
    with contextlib.suppress(OSError):
        texts = [p.read_text() for p in Path(f"/proc/{parent}/task").glob("*/children")]
        return [int(each) for text in texts for each in text.split()]
    return []


def records_of(path: Path) -> list[dict[str, Any]]:
    """The records of a study, as they are in its journal."""
    return [body for kind, body in SqliteStore(path).read() if kind == "record"] if path.exists() else []


# -- drivers ---------------------------------------------------------------------------------------------------------


def drivers(short: bool) -> bool:
    """Two with one study: how many a second, then kills and a server that goes down."""
    sys.path.append(str(Path(__file__).parents[1] / "tests"))
    private = importlib.import_module("private_postgresql")
    if why := private.missing():
        print(f"drivers are left out: {why}")
        return True
    with private.server() as server:
        print(f"{'drivers with one study':<34}{'a second':>12}{'CPU, ms':>12}")
        for turn in range(1 if short else 3):
            for count in (1, 2):
                if not _rate(server.dsn, f"rate{turn}-{count}", count, 200 if short else 1000):
                    return False
        return _killed(server, short)


def _rate(dsn: str, study: str, count: int, number: int) -> bool:
    """Print how many a second so many drivers evaluate of a study, and their CPU time for each; whether none failed."""
    begin = os.times()
    several = [_driver(dsn, study, number) for _ in range(count)]
    failed = [driver.wait() for driver in several]
    end = os.times()
    cpu = end.children_user + end.children_system - begin.children_user - begin.children_system
    times = [r["provenance"]["time"] for r in _records(dsn, study)]
    rate = (len(times) - 1) / (max(times) - min(times))
    print(f"{count:<34}{rate:>12.0f}{1000 * cpu / number:>12.2f}", flush=True)
    return not any(failed) and len(times) == number


def _killed(server: Any, short: bool) -> bool:
    """Kill drivers, and the server once in five times; prints what is wrong."""
    rng, kills, known, wrong = np.random.default_rng(0), 6 if short else 20, list[dict[str, Any]](), list[str]()
    several = [_driver(server.dsn, "killed", 0) for _ in range(2)]
    for number in range(kills):
        time.sleep(float(rng.uniform(0.8, 1.5)))
        if number % 5 == 3:
            server.end()
            time.sleep(float(rng.uniform(0, 1)))
            server.start()
        else:
            driver = several.pop(0)
            driver.kill()
            driver.wait()
            several.append(_driver(server.dsn, "killed", 0))
        found = _records(server.dsn, "killed")
        wrong += [] if found[: len(known)] == known else [f"kill {number}: what was measured has changed"]
        known = found
    wrong += [f"a driver ended with {code}" for driver in several if (code := driver.wait())]
    found = _records(server.dsn, "killed")
    networks = {(r["candidate"]["a"], r["candidate"]["b"]) for r in found}
    wrong += [] if len(found) == len(networks) == 300 else [f"{len(found)} records of {len(networks)} networks"]
    wrong += [] if {r["status"] for r in found} == {"ok"} else ["some failed"]
    best = {r.candidate for r in read_journal(_study(server.dsn, "killed")).front}
    wrong += [] if best == undisturbed(()) else ["the front is another than that of an undisturbed search"]
    print(f"{kills} kills of drivers and server, {len(known)} of 300 records at the last: {wrong or 'all well'}")
    return not wrong


def _driver(dsn: str, study: str, number: int) -> subprocess.Popen[bytes]:
    """One more that searches with a study: so many evaluations of a millisecond, or what is searched among kills."""
    command = [sys.executable, __file__, "--search", f"postgresql,study={study},dsn={dsn}", "--number", str(number)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def _study(dsn: str, study: str) -> Any:
    return open_store(f"postgresql,study={study},dsn={dsn}")


def _records(dsn: str, study: str) -> list[dict[str, Any]]:
    return [body for kind, body in _study(dsn, study).read() if kind == "record"]


def drive(store: str, number: int) -> None:
    """Search as one of several drivers."""
    given: dict[str, Any] = {"strategy": "random", "store": store}
    if number:
        nw.search(SPACE, millisecond, OBJECTIVES, evaluations=number, **given)  # type: ignore[arg-type]
    else:
        nw.search(SMALL, harmless, OBJECTIVES, evaluations=300, **given)  # type: ignore[arg-type]


def harmless(candidate: nw.Candidate) -> Mapping[str, float]:
    """What is searched among kills, without poisons, and a little slower."""
    time.sleep(0.05)
    return figures(20 * int(candidate["a"]) + int(candidate["b"]))  # type: ignore[arg-type]


# -- digits ----------------------------------------------------------------------------------------------------------


def digits(short: bool) -> bool:
    """Search the digits with one worker and with two."""
    number = 10 if short else 40
    with tempfile.TemporaryDirectory() as folder:
        trained = Path(folder) / "trained"
        run("train", trained, "--train.epochs", "1")
        seconds, latencies = dict[int, list[float]](), dict[str, dict[int, list[float]]]()
        for workers in (1, 2, 1, 2):
            out = Path(folder) / f"{workers}-{len(seconds)}"
            shutil.copytree(trained, out)
            begin = time.perf_counter()
            run("search", out, "--train.epochs", "1", "--evaluations", "1", "--search.strategy", "random")
            started = time.perf_counter() - begin
            executor = ["--search.executor", f"local,workers={workers}", "--search.strategy", "random"]
            begin = time.perf_counter()
            run("search", out, "--train.epochs", "1", "--evaluations", str(number), *executor)
            seconds.setdefault(workers, []).append(time.perf_counter() - begin - started)
            text = subprocess.run([*NETWRIGHT, "records", str(out), "--json"], capture_output=True, text=True).stdout
            for record in map(json.loads, text.splitlines()):
                if "latency" in record["measurements"]:
                    value = record["measurements"]["latency"]["value"]
                    latencies.setdefault(record["id"], {}).setdefault(workers, []).append(value)
    ratios = [np.median(each[2]) / np.median(each[1]) for each in latencies.values() if len(each) == 2]
    faster = min(seconds[1]) / min(seconds[2])
    print(
        f"digits, {number} networks: {min(seconds[1]):.1f} s by one worker, {min(seconds[2]):.1f} s by two, "
        f"{faster:.2f} times as fast; latencies by two are {np.median(ratios):.3f} times those by one "
        f"(median of {len(ratios)})"
    )
    return faster > 1


NETWRIGHT = [sys.executable, "-m", "netwright"]


def run(verb: str, out: Path, *more: str) -> None:
    """A command, which must succeed."""
    subprocess.run([*NETWRIGHT, verb, "digits", "--out", str(out), *more], check=True, stdout=-3, stderr=-3)


PARTS: dict[str, Callable[[bool], bool]] = {
    "throughput": throughput, "overhead": overhead, "faults": faults, "drivers": drivers, "digits": digits,
}  # fmt: skip


def main() -> None:
    """Print it all; exit code 1 where something is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="less of each")
    parser.add_argument("--only", choices=PARTS, help="this alone")
    parser.add_argument("--search", help=argparse.SUPPRESS)
    parser.add_argument("--number", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.number is not None:
        drive(given.search, given.number)
        return
    if given.search:
        survives(given.search, "local,workers=2,timeout=2,memory=200 MB")
        return
    well = [part(given.short) for name, part in PARTS.items() if given.only in (None, name)]
    raise SystemExit(0 if all(well) else 1)


if __name__ == "__main__":
    main()
