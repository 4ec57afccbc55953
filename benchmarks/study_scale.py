"""What a study costs as it grows: opening it, its front, and each evaluation beside the measuring.

A study of made-up records, about 1 kB each as those of real networks are, is written to a temporary folder for each
size. A fresh process opens it (``opened``: seconds and peak memory, Python and NumPy included), takes its front, and
another one goes on searching it with a function that costs nothing (``evaluation``: milliseconds from one call of the
function to the next, over 48 evaluations of random search, journalling included). ``ask`` is what ``guided`` takes to
propose four networks more, in CPU seconds: the median of five, each after the four before it were measured.

With ``--minutes``, instead: one process adds records to a new study as fast as it can, and eight read it all the while,
read-only, what is new and now and then the whole. Printed are how many were added, how long adding one took at the
median, in 99 of 100 cases and at most, with readers and for a tenth of the time without; and whatever failed, of which
there must be nothing.

On a machine of two cores that some ten processes wanted: in ten minutes 86,243 records beside eight readers without an
error of any, one in 0.2 ms at the median, in 96 ms in 99 of 100 cases and 1.3 s at most; without readers 26,268 in one
minute, 0.2, 28 and 242 ms. Readers and the one that adds wait for each other while either has the file.

    python benchmarks/study_scale.py                # 150, 3,000 and 100,000 records
    python benchmarks/study_scale.py 1000 10000     # other sizes
    python benchmarks/study_scale.py --minutes 10
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

import netwright as nw
from netwright.strategies.base import History, Problem
from netwright.study.journal import Journal, read_journal
from netwright.study.stores import sqlite

SIZES = (150, 3000, 100_000)
EVALUATIONS = 48
READERS = 8
SPACE = nw.Space(
    [nw.Choice(f"stage{i}.depth", (1, 2, 3, 4)) for i in range(3)]
    + [nw.Choice(f"stage{i}.block{k}.width", tuple(range(8, 72, 8)), when={f"stage{i}.depth": tuple(range(k + 1, 5))})
       for i in range(3) for k in range(4)]
)  # fmt: skip
OBJECTIVES = {"accuracy": "max", "latency": "min"}


def main() -> None:
    """Print one row for each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES)
    parser.add_argument("--folder", help="where the studies are written: each evaluation waits for this disk twice")
    parser.add_argument("--minutes", type=float, help="one process that adds records, and eight that read, for so long")
    given = parser.parse_args()
    if given.minutes:
        raise SystemExit(0 if beside_readers(given.minutes, given.folder) else 1)
    print(f"{'records':>8}{'file':>9}{'opened':>9}{'memory':>9}{'front':>9}{'on front':>9}{'evaluation':>12}{'ask':>8}")
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        for size in given.sizes:
            path = Path(folder) / f"{size}.db"
            write(path, size)
            row = {**child("opened", path), **child("asked", path), **child("searched", path)}
            print(
                f"{size:>8}{path.stat().st_size / 1e6:>6.0f} MB{row['opened']:>7.2f} s{row['memory']:>6.0f} MB"
                f"{row['front']:>7.3f} s{row['on_front']:>9}{row['evaluation']:>9.2f} ms"
                f"{row['ask']:>6.2f} s",
                flush=True,
            )


def beside_readers(minutes: float, folder: str | None) -> bool:
    """Add records while others read; prints how long that took. Whether nothing failed and each reader saw all."""
    print(f"{'readers':>8}{'added':>9}{'median':>11}{'99 of 100':>11}{'at most':>11}")
    well = True
    with tempfile.TemporaryDirectory(dir=folder) as place:
        for number, seconds in ((0, 6 * minutes), (READERS, 60 * minutes)):
            path = Path(place) / f"{number}.db"
            search(path, 2, lambda c: {"accuracy": 50.0, "latency": 1.0})
            code = "import sys, study_scale; study_scale.follow(sys.argv[1])"
            readers = [
                subprocess.Popen([sys.executable, "-c", code, str(path)], cwd=Path(__file__).parent, stdout=-1)
                for _ in range(number)
            ]
            for reader in readers:
                assert reader.stdout is not None
                reader.stdout.readline()  # it has begun to read
            took = add_records(path, seconds)
            whole = read_journal(sqlite.SqliteStore(path)).entries
            for reader in readers:
                said, _ = reader.communicate(timeout=600)
                entries, reads = json.loads(said or "[0, 0]")
                if reader.returncode or entries != whole:
                    print(f"a reader ended with {reader.returncode} at entry {entries} after {reads} reads")
                    well = False
            figures = [1000 * np.quantile(took, share) for share in (0.5, 0.99, 1.0)]
            print(f"{number:>8}{len(took):>9}" + "".join(f"{each:>8.1f} ms" for each in figures), flush=True)
    return well


def add_records(path: Path, seconds: float) -> list[float]:
    """Add records for so long, then an entry that ends the readers; returns how long each took."""
    rng, took, store = np.random.default_rng(0), list[float](), sqlite.SqliteStore(path)
    with store.held():
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            body = record(SPACE.sample(rng), rng)
            begin = time.perf_counter()
            store.append("record", body)
            took.append(time.perf_counter() - begin)
        store.append("retry", {"candidates": []})
    return took


def follow(path: str) -> None:
    """Read a study until it ends: what is new, and each hundredth time the whole."""
    store, reads = sqlite.SqliteStore(path, must_exist=True, read_only=True), 0
    journal = Journal()
    while True:
        journal.follow(store)
        reads += 1
        if reads == 1:
            print(flush=True)
        if reads % 100 == 0:
            assert read_journal(store).entries >= journal.entries
        if any(kind == "retry" for kind, _ in store.read(max(journal.entries - 1, 0))):
            journal.follow(store)
            print(json.dumps([journal.entries, reads]))
            return


def search(path: Path, evaluations: int, evaluate: Any) -> None:
    """The search that the study is of, up to a number of records."""
    nw.search(SPACE, evaluate, OBJECTIVES, strategy="random", evaluations=evaluations, store=path)  # type: ignore[arg-type]


def write(path: Path, size: int) -> None:
    """A study of so many records."""
    search(path, 2, lambda c: {"accuracy": 50.0, "latency": 1.0})
    rng, known, rows = np.random.default_rng(0), set[str](), list[tuple[str, str]]()
    batch: list[Any] = []
    while len(known) < size - 2:
        candidate = SPACE.sample(rng)
        if candidate.key not in known:
            known.add(candidate.key)
            batch.append(candidate)
        if len(batch) == 8 or len(known) == size - 2:
            asked = {"candidates": [dict(c) for c in batch], "provenance": {"strategy": "random", "seed": 0}}
            bodies = [("ask", asked), *(("record", record(c, rng)) for c in batch)]
            rows += [(kind, json.dumps(body, separators=(",", ":"))) for kind, body in bodies]
            batch = []
    with closing(sqlite3.connect(path)) as connection, connection:
        insert = getattr(sqlite, "insert", None)
        for kind, text in rows:
            if insert:
                insert(connection, kind, text)
            else:
                connection.execute("INSERT INTO journal (kind, body) VALUES (?, ?)", (kind, text))


def record(candidate: Any, rng: np.random.Generator) -> dict[str, Any]:
    """One record as a study of networks on a device keeps it."""
    work = float(sum(v for v in candidate.values()))
    latency, accuracy = work / 100 * rng.uniform(0.9, 1.1), 95 - 2000 / (work + 30) - rng.exponential(2)
    exact = {"spread": 0.0, "n": 1, "kind": "exact"}
    details = {"p90": latency * 1.1, "wall": {"median": latency, "p90": latency * 1.1}, "cpu": {"median": latency}}
    return {
        "id": candidate.id,
        "candidate": dict(candidate),
        "status": "ok",
        "measurements": {
            "params": {"value": int(work * 100), "unit": "", **exact},
            "macs": {"value": int(work * 9000), "unit": "", **exact},
            "latency": {"value": latency, "unit": "", "spread": 0.01, "n": 30, "kind": "measured", **details},
            "accuracy": {"value": accuracy, "unit": "", "spread": 1.2, "n": 1440, "kind": "measured"},
        },
        "provenance": {"strategy": "random", "seed": 0, "time": 1.7e9 + float(rng.random()), "seconds": 0.196},
    }


def child(what: str, path: Path) -> dict[str, Any]:
    """What a process of its own finds."""
    code = f"import sys, study_scale; from pathlib import Path; study_scale.{what}(Path(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=Path(__file__).parent, stdout=subprocess.PIPE, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def opened(path: Path) -> None:
    """Open the study and take its front."""
    begin = time.perf_counter()
    journal = read_journal(sqlite.SqliteStore(path))
    found = {"opened": time.perf_counter() - begin}
    begin = time.perf_counter()
    found |= {"on_front": len(journal.front), "front": time.perf_counter() - begin}
    status = Path("/proc/self/status").read_text()
    print(json.dumps({**found, "memory": int(status.split("VmHWM:")[1].split()[0]) / 1024}))


def asked(path: Path) -> None:
    """Ask the strategy that learns from all of it."""
    journal = read_journal(sqlite.SqliteStore(path), SPACE.candidate)
    history, rng, seconds = History(journal.records), np.random.default_rng(0), list[float]()
    problem = Problem(SPACE, journal.objectives)
    while len(seconds) < 6:
        begin = time.process_time()
        found = nw.Guided().ask(problem, history, 4)
        seconds.append(time.process_time() - begin)
        for candidate in found:
            history.append(nw.Record.from_json(record(candidate, rng), problem.objectives))
    print(json.dumps({"ask": float(np.median(seconds[1:]))}))  # the first one imports and tunes


def searched(path: Path) -> None:
    """Go on with the study."""
    calls: list[float] = []

    def evaluate(candidate: Any) -> dict[str, float]:
        calls.append(time.perf_counter())
        return {"accuracy": 50.0, "latency": 5.0}

    with closing(sqlite3.connect(path)) as connection:
        (known,) = connection.execute("SELECT count(*) FROM journal WHERE kind = 'record'").fetchone()
    search(path, known + EVALUATIONS + 1, evaluate)
    print(json.dumps({"evaluation": (calls[-1] - calls[0]) / (len(calls) - 1) * 1000}))


if __name__ == "__main__":
    main()
