"""What a job survives, and what is said: kills, full and read-only disks, limits of descriptors and memory, measuring
processes that are killed, candidates that take the process down.

Each try breaks something while a job runs, mends it, and has the same job go on. A try is *survived* where nothing that
was measured is lost, doubled or changed, no network is said to have failed for it, and the job ends with the records of
one that was never disturbed. It is *said* where the disturbed job ended well or with one line, exit code 2 (130 and 143
where it was interrupted) and no traceback; who is killed outright says nothing. The jobs are ``netwright fit`` on
handwritten digits and ``netwright.search`` with a function. Disks are small file systems in memory, which need root.

    python benchmarks/faults.py            # everything: about an hour on two cores
    python benchmarks/faults.py --short    # a few of each: three minutes
    python benchmarks/faults.py --only disk
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import netwright as nw
from netwright.core.errors import NetwrightError

FIT = ["--train.epochs", "1", "--evaluations", "8", "--export.epochs", "0", "--export.formats", "onnx"]
EVALUATIONS = 24
"""Of a search with a function."""
PAUSE_S = 0.03
"""That the function takes."""
LIMIT_S = 600
"""That a job may take before it counts as hung."""
VARIES = ("latency", "throughput", "memory")
"""Metrics that no two measurements agree on."""

SPACE = nw.Space(
    [nw.Choice("depth", (1, 2, 3, 4)), nw.Choice("width", tuple(range(8, 72, 8))), nw.Choice("k", (3, 5, 7))]
)


Records = list[tuple[str, str, str]]
"""Candidate, status and values of each record of a journal, in order."""


@dataclass
class Row:
    """One line of the table."""

    name: str
    tried: int = 0
    survived: int = 0
    said: int | None = 0
    wrong: list[str] = field(default_factory=list)

    def add(self, survived: str, said: str = "", silent: bool = False) -> None:
        """A try: what was lost, and what was said badly; empty where nothing was."""
        self.tried += 1
        self.survived += not survived
        self.said = None if silent else (self.said or 0) + (not said)
        self.wrong += [text for text in (survived, said) if text]

    @property
    def is_well(self) -> bool:
        """Whether every try was survived and said."""
        return self.tried == self.survived and self.said in (None, self.tried)


@dataclass(frozen=True)
class Ended:
    """How a job ended."""

    code: int
    err: str

    def said(self, *codes: int) -> str:
        """What is wrong with what was said; empty where nothing is."""
        if "Traceback" in self.err:
            return f"a traceback: {self.err.strip().splitlines()[-1][:160]}"
        if self.code not in codes:
            return f"exit code {self.code}, not {' or '.join(map(str, codes))}: {self.err.strip()[-200:]}"
        lines = [line for line in self.err.splitlines() if line.startswith("netwright: ")]
        return "" if self.code == 0 or len(lines) == 1 else f"{len(lines)} lines: {self.err.strip()[-200:]}"


class Job:
    """A job in a process of its own, and the journal that it keeps.

    Args:
        out: the directory that it works in.
    """

    def __init__(self, out: Path) -> None:
        self.out = out

    command: Sequence[str]
    study: Path

    def start(self, limits: Mapping[int, int] | None = None, **environment: str) -> subprocess.Popen[str]:
        """Begin, or go on. ``limits``: of resources (``resource.RLIMIT_...``)."""

        def prepare() -> None:
            for what, most in (limits or {}).items():
                resource.setrlimit(what, (most, most))

        return subprocess.Popen(
            self.command, cwd=Path(__file__).parent, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment}, preexec_fn=prepare, start_new_session=True,
        )  # fmt: skip

    def run(self, limits: Mapping[int, int] | None = None, **environment: str) -> Ended:
        """Begin, or go on, to the end."""
        return finished(self.start(limits, **environment))

    def records(self) -> Records:
        """What the journal holds."""
        if not self.study.exists():
            return []
        # To be written too: a transaction that was killed is taken back by whoever reads next.
        with contextlib.closing(sqlite3.connect(f"{self.study.absolute().as_uri()}?mode=rw", uri=True)) as connection:
            rows = connection.execute("SELECT body FROM journal WHERE kind = 'record' ORDER BY seq").fetchall()
        found = map(json.loads, (body for (body,) in rows))
        return [(json.dumps(r["candidate"]), r["status"], json.dumps(_values(r))) for r in found]


def _values(record: Mapping[str, Any]) -> dict[str, float]:
    """The measurements that are the same whenever they are taken."""
    return {name: m["value"] for name, m in record["measurements"].items() if name not in VARIES}


class Fit(Job):
    """``netwright fit`` on handwritten digits."""

    def __init__(self, place: Path, objectives: str = "accuracy,macs", more: Sequence[str] = ()) -> None:
        super().__init__(out := place / "out")
        self.study = out / "study.db"
        self.command = [
            sys.executable, "-m", "netwright", "fit", "digits", "--out", str(out), *FIT,
            "--objectives", objectives, *more,
        ]  # fmt: skip


class Converting(Fit):
    """The same, which writes a file of each network to the folder of temporary files."""

    def __init__(self, place: Path) -> None:
        super().__init__(place, "accuracy,file_bytes")


class Search(Job):
    """``netwright.search`` with a function, as a person's script calls it."""

    def __init__(self, out: Path, **how: Any) -> None:
        super().__init__(out)
        self.study = out / "study.db"
        code = f"import sys, faults; sys.exit(faults.searching(sys.argv[1], **{how!r}))"
        self.command = [sys.executable, "-c", code, str(self.study)]


def searching(study: str, poison: str = "", kind: str = "", **how: Any) -> int:
    """The script: it says what netwright raises, as scripts do. ``poison`` is the candidate that misbehaves."""

    def evaluate(candidate: nw.Candidate) -> dict[str, float]:
        time.sleep(PAUSE_S)
        if candidate.key == poison:
            POISONS[kind]()
        work = float(np.prod([float(str(option)) for option in candidate.values()]))
        return {"quality": 1 - 20 / (20 + work), "work": work}

    try:
        nw.search(SPACE, evaluate, {"quality": "max", "work": "min"}, evaluations=EVALUATIONS, store=study, **how)
    except NetwrightError as error:
        print(f"netwright: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("netwright: interrupted", file=sys.stderr)
        return 130
    return 0


def _hang() -> None:
    while True:
        time.sleep(1)


def _fill() -> None:
    kept = []
    while True:
        kept.append(np.ones(8 << 20))  # 64 MB that are really used
        time.sleep(0.001)


def _leave_child() -> None:
    if not os.fork():
        _hang()
    os._exit(1)


POISONS: Mapping[str, Callable[[], Any]] = {
    "segfault": lambda: ctypes.string_at(0),
    "abort": os.abort,
    "exit 0": lambda: os._exit(0),
    "SystemExit": lambda: sys.exit(3),
    "hang": _hang,
    "memory": _fill,
    "SIGKILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "SIGSTOP": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "child left": _leave_child,
}
"""What a candidate does when it is measured."""


def finished(process: subprocess.Popen[str], limit_s: float = LIMIT_S) -> Ended:
    """How a process ended; it is ended where it takes too long."""
    try:
        _, err = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        _, err = process.communicate()
        return Ended(-1, f"{err}\nhung for {limit_s} s")
    return Ended(process.returncode, err)


def lost(before: Sequence[Any], after: Sequence[Any]) -> str:
    """What is wrong with records after a fault, given those of before; empty where nothing is."""
    if list(after[: len(before)]) != list(before):
        return f"{len(before)} records before, and not the same ones after"
    names = [name for name, _, _ in after]
    return "" if len(set(names)) == len(names) else "a network was measured twice"


def other(found: Sequence[Any], undisturbed: Sequence[Any]) -> str:
    """How records differ from those of a job that was never disturbed."""
    if list(found) == list(undisturbed):
        return ""
    failed = sum(status == "failed" for _, status, _ in found)
    return f"{len(found)} records, {failed} failed, differ from the {len(undisturbed)} of an undisturbed job"


def gone_on(job: Job, before: Sequence[Any], undisturbed: Sequence[Any]) -> str:
    """What is wrong once the job has gone on to its end."""
    ended = job.run()
    if ended.code:
        return f"did not go on: {ended.err.strip()[-200:]}"
    return lost(before, job.records()) or other(job.records(), undisturbed)


# -- the rows ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bench:
    """What all rows share.

    Args:
        folder: for their files.
        short: a few tries of each.
        rng: when to strike.
    """

    folder: Path
    short: bool
    rng: np.random.Generator
    _found: dict[str, tuple[float, Records]] = field(default_factory=dict)

    def place(self) -> Path:
        """An empty directory."""
        return Path(tempfile.mkdtemp(dir=self.folder))

    def undisturbed(self, make: Callable[[Path], Job]) -> tuple[float, Records]:
        """The seconds and the records of a job that nothing disturbs; found once for each."""
        job = make(self.place())
        key = " ".join(job.command).replace(str(job.out), "")
        if key not in self._found:
            begin = time.monotonic()
            ended = job.run()
            assert ended.code == 0, ended.err
            self._found[key] = time.monotonic() - begin, job.records()
        return self._found[key]

    def tries(self, short: int, full: int) -> int:
        """How many."""
        return short if self.short else full


def kills(bench: Bench) -> Iterator[Row]:
    """Processes that are ended at random moments."""
    jobs: list[tuple[str, Callable[[Path], Job], int]] = [
        ("fit", Fit, bench.tries(2, 30)),
        ("search", Search, bench.tries(6, 60)),
    ]
    for what, make, tries in jobs:
        seconds, undisturbed = bench.undisturbed(make)
        for number, code in ((signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130)):
            row = Row(f"{what}: {number.name} at random moments")
            job = make(bench.place())
            while row.tried < (tries if number == signal.SIGKILL else (tries + 1) // 2):
                before, process = job.records(), job.start()
                time.sleep(float(bench.rng.uniform(0.02, seconds)))
                process.send_signal(number)
                ended = finished(process)
                # Who is killed says nothing, and what Ctrl-C raises in a person's script is for them to say.
                silent = number == signal.SIGKILL or (number == signal.SIGINT and make is Search)
                if ended.code == 0:  # it was done before
                    row.add(other(job.records(), undisturbed), "", silent)
                    job = make(bench.place())
                    continue
                # Before Python has set anything up, a signal ends it as it ends any program.
                early = ended.code == -number and not ended.err
                row.add(lost(before, job.records()), "" if early or silent else ended.said(code), silent)
            row.wrong += filter(None, [wrong := gone_on(job, job.records(), undisturbed)])
            row.survived -= bool(wrong)
            yield row


def cannot_mount(bench: Bench) -> str:
    """Why no file systems can be made here, which only root may do, and not everywhere; empty where they can."""
    try:
        with disk(bench, "64k") as place, read_only(place):
            return ""
    except (OSError, subprocess.CalledProcessError) as error:
        return str(error)


@contextlib.contextmanager
def disk(bench: Bench, size: str) -> Iterator[Path]:
    """A small file system."""
    place = bench.place()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def disks(bench: Bench) -> Iterator[Row]:
    """Disks that are full, or that nothing can be written to."""

    cases: list[tuple[str, Callable[[Path], Job], Sequence[str], Sequence[str]]] = [
        ("fit: the disk of the output directory is full", Fit, ("400k",),
         ("16k", "60k", "200k", "400k", "600k", "1m", "2m", "3m", "5m")),
        ("search: the disk of the study is full", Search, ("16k", "28k", "36k"),
         ("4k", "8k", "16k", "20k", "24k", "28k", "32k", "36k", "40k")),
    ]  # fmt: skip
    for name, make, few, many in cases:
        yield full(name, bench, make, few if bench.short else many)

    row, (_, undisturbed) = Row("fit: the disk of temporary files is full"), bench.undisturbed(Converting)
    for size in ("100k",) if bench.short else ("4k", "8k", "40k", "100k", "200k", "400k"):
        with disk(bench, size) as place:
            job = Converting(bench.place())
            ended = job.run(TMPDIR=str(place))
        wrong, said = gone_on(job, job.records(), undisturbed), ended.said(0, 2)
        row.add(prefixed(size, wrong), prefixed(size, said))
    yield row
    yield never_written(bench)


def full(name: str, bench: Bench, make: Callable[[Path], Job], sizes: Sequence[str]) -> Row:
    """Jobs on disks that fill up, and that go on when they are larger."""
    row, (_, undisturbed) = Row(name), bench.undisturbed(make)
    for size in sizes:
        with disk(bench, size) as place:
            job = make(place)
            ended, before = job.run(), job.records()
            subprocess.run(["mount", "-o", "remount,size=200m", str(place)], check=True)
            row.add(prefixed(size, gone_on(job, before, undisturbed)), prefixed(size, ended.said(0, 2)))
    return row


def never_written(bench: Bench) -> Row:
    """Jobs whose study, or directory, can only be read from some moment on."""
    row = Row("fit and search: nothing can be written any more")
    for make in (Search,) if bench.short else (Fit, Search):
        _, undisturbed = bench.undisturbed(make)
        job = make(bench.place())
        process = job.start()
        while len(job.records()) < 3 and process.poll() is None:
            time.sleep(0.01)
        with read_only(job.study):
            ended, before = finished(process), job.records()
        row.add(gone_on(job, before, undisturbed), ended.said(2))
        job = make(bench.place())
        job.out.mkdir(exist_ok=True)
        with read_only(job.out):
            ended = job.run()
        row.add(gone_on(job, [], undisturbed), ended.said(2))
    return row


@contextlib.contextmanager
def read_only(place: Path) -> Iterator[None]:
    """A file or directory that can only be read meanwhile."""
    with tempfile.TemporaryDirectory() as folder:
        # made read-only where no process looks: what one has open to write there would be "busy"
        aside = Path(folder) / place.name
        aside.mkdir() if place.is_dir() else aside.touch()
        subprocess.run(["mount", "--bind", str(place), str(aside)], check=True)
        try:
            subprocess.run(["mount", "-o", "remount,bind,ro", str(aside)], check=True)
            subprocess.run(["mount", "--bind", str(aside), str(place)], check=True)
            try:
                yield
            finally:
                subprocess.run(["umount", "-l", str(place)], check=True)
        finally:
            subprocess.run(["umount", "-l", str(aside)], check=True)


def limits(bench: Bench) -> Iterator[Row]:
    """Few descriptors, little memory, small files."""
    cases = [
        ("descriptors", resource.RLIMIT_NOFILE, (24,), (6, 8, 10, 12, 14, 16, 20, 24, 32, 48, 64)),
        ("memory", resource.RLIMIT_AS, (1 << 30,), [n << 20 for n in (150, 300, 512, 700, 1024, 1500, 3000)]),
        ("the size of files", resource.RLIMIT_FSIZE, (60_000,), (1000, 8192, 20_000, 60_000, 200_000, 400_000)),
    ]
    jobs: list[tuple[str, Callable[[Path], Job]]] = [("fit", Converting), ("search", Search)]
    for what, make in jobs:
        _, undisturbed = bench.undisturbed(make)
        for name, limit, few, many in cases[:1] if bench.short else cases:
            row = Row(f"{what}: a limit of {name}")
            for value in few if bench.short else many:
                job = make(bench.place())
                ended = job.run({limit: value})
                wrong, said = gone_on(job, job.records(), undisturbed), ended.said(0, 2)
                row.add(prefixed(f"{value:,}", wrong), prefixed(f"{value:,}", said))
            yield row


def measuring(bench: Bench) -> Iterator[Row]:
    """Measuring processes that are killed from outside."""
    row = Row("fit: measuring processes killed")
    job = Fit(bench.place(), "accuracy,latency", ["--evaluations", str(bench.tries(10, 40))])
    process = job.start()
    struck = float("-inf")
    while process.poll() is None:
        time.sleep(float(bench.rng.uniform(0.05, 0.5)))
        # A network whose measuring process is killed twice is taken for the reason: they are struck seldom.
        if time.monotonic() - struck < 4:
            continue
        if victims := measuring_processes(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(victims[int(bench.rng.integers(len(victims)))], signal.SIGKILL)
            struck = time.monotonic()
            row.add("")
    ended = finished(process)
    failed = [status for _, status, _ in job.records() if status == "failed"]
    row.said = row.tried if not ended.said(0) else 0
    row.survived -= len(failed)
    row.wrong += filter(None, [ended.said(0), f"{len(failed)} networks failed" if failed else ""])
    yield row


def measuring_processes(parent: int) -> list[int]:
    """The measuring processes below a process, and their forks."""
    children: dict[int, list[int]] = {}
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            before = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(before, []).append(int(place.name))
    found, left = list[int](), [parent]
    while left:
        for each in children.get(left.pop(), []):
            left.append(each)
            with contextlib.suppress(OSError):
                if b"netwright.measure.worker" in Path(f"/proc/{each}/cmdline").read_bytes():
                    found.append(each)
    return found


def poisons(bench: Bench) -> Iterator[Row]:
    """Candidates that take the process down when they are measured."""
    _, asked = bench.undisturbed(Search)
    poison = json.dumps(dict(sorted(json.loads(asked[4][0]).items())), separators=(",", ":"))
    row = Row("search, isolated: a candidate that takes its process down")
    for kind in ("segfault", "hang", "memory", "SIGSTOP") if bench.short else POISONS:
        job = Search(bench.place(), poison=poison, kind=kind, timeout=3, memory="1 GB")
        ended = job.run()
        row.add(prefixed(kind, poisoned(job.records(), poison)), prefixed(kind, ended.said(0)))
    yield row
    row = Row("search, not isolated: the same, killed where it hangs")
    for kind in ("segfault",) if bench.short else POISONS:
        if kind == "memory":  # it would take the machine down, which no search can help
            continue
        job, said = Search(bench.place(), poison=poison, kind=kind), ""
        for _ in range(5):
            before, process = job.records(), job.start()
            ended = finished(process, 12)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # a child that was left behind
            said = said or lost(before, job.records())
            if len(job.records()) == EVALUATIONS:
                break
        row.add(prefixed(kind, said or poisoned(job.records(), poison)), prefixed(kind, ended.said(0)))
    yield row


def poisoned(records: Records, poison: str) -> str:
    """What is wrong with the records of a search with a poison candidate."""
    failed = [json.loads(name) for name, status, _ in records if status == "failed"]
    if len(records) != EVALUATIONS:
        return f"{len(records)} records, not {EVALUATIONS}"
    return "" if failed == [json.loads(poison)] else f"failed are {failed}, not the poison alone"


def prefixed(kind: str, wrong: str) -> str:
    """What is wrong, and with which."""
    return f"{kind}: {wrong}" if wrong else ""


ROWS = {"kills": kills, "disk": disks, "limits": limits, "measuring": measuring, "poison": poisons}
MOUNTS = ("disk",)


def main() -> None:
    """Print the table; exit code 1 where something was not survived or not said."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="a few of each")
    parser.add_argument("--only", choices=ROWS, help="these alone")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    given = parser.parse_args()
    print(f"{'fault':<58}{'tried':>7}{'survived':>10}{'said':>6}{'seconds':>9}")
    well = True
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), given.short, np.random.default_rng(given.seed))
        for name, rows in ROWS.items():
            if given.only not in (None, name):
                continue
            if name in MOUNTS and (why := cannot_mount(bench)):
                print(f"{name}: left out, no small file system can be made here: {why}")
                continue
            begin = time.monotonic()
            for row in rows(bench):
                said, now = "-" if row.said is None else row.said, time.monotonic()
                print(f"{row.name:<58}{row.tried:>7}{row.survived:>10}{said:>6}{now - begin:>9.0f}", flush=True)
                for text in row.wrong:
                    print(f"    {' '.join(text.split())[:300]}", flush=True)
                well, begin = well and row.is_well, now
    raise SystemExit(0 if well else 1)


if __name__ == "__main__":
    main()
