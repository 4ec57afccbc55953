"""A candidate that crashes, hangs or takes all memory fails, and takes nothing with it."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import netwright as nw
from netwright.core.errors import CallError, MachineFault, MeasureError
from netwright.measure.base import EvaluationContext, Measurer
from netwright.study.evaluate import Job, evaluate
from netwright.study.executors.base import Executor
from netwright.study.executors.local import Local
from netwright.study.stores.memory import MemoryStore
from netwright.study.stores.sqlite import SqliteStore
from netwright.testing import FakeMeasurer, FakeNet

SPACE = nw.Space([nw.Choice("k", tuple(range(10)))])


class Own(Measurer):
    """A function of a candidate."""

    metrics = (nw.Metric("q", direction="max"),)
    depends_on_weights = True

    def __init__(self, function: Callable[[int], Any]) -> None:
        self.function = function

    def measure(self, context: EvaluationContext) -> Mapping[str, nw.Measurement]:
        k = int(context.candidate["k"])  # type: ignore[call-overload]
        self.function(k)
        return {"q": nw.Measurement(float(k))}


def searched(function: Callable[[int], Any], executor: str = "local,timeout=30", **more: Any) -> list[nw.Record]:
    study = nw.Study(MemoryStore(), FakeNet(SPACE), objectives=[Own(function)], **more)
    return study.run("random", 10, executor=executor)


def segfault() -> None:
    ctypes.string_at(0)


def forever() -> None:
    while True:
        pass


def all_memory() -> None:
    taken = []
    while True:
        taken.append(bytearray(os.urandom(1 << 20)) * 16)


def children_left_behind() -> None:
    for _ in range(10):
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", MARK])
        if not os.fork():
            time.sleep(600)
    time.sleep(600)


def in_a_thread() -> None:
    thread = threading.Thread(target=sys.exit, args=(3,))
    thread.start()
    thread.join()
    segfault()


MARK = f"netwright-test-{os.getpid()}"

KINDS = {
    "segfault": (segfault, r"crashed \(SIGSEGV\)"),
    "abort": (os.abort, r"crashed \(SIGABRT\)"),
    "exit 0": (lambda: os._exit(0), "ended with exit code 0"),
    "exit 3": (lambda: os._exit(3), "ended with exit code 3"),
    "SystemExit": (lambda: sys.exit(3), r"ends the process \(SystemExit: 3\)"),
    "in a thread": (in_a_thread, r"crashed \(SIGSEGV\)"),
    "hangs": (forever, "took more than 1 s"),
    "memory": (all_memory, "needed more than 100 MB"),
    "children": (children_left_behind, "took more than 1 s"),
    "killed": (lambda: os.kill(os.getpid(), signal.SIGKILL), r"was killed \(SIGKILL\)"),
    "stopped": (lambda: os.kill(os.getpid(), signal.SIGSTOP), "took more than 1 s"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_poison_is_a_failed_network_and_no_more(kind: str) -> None:
    poison, why = KINDS[kind]

    def function(k: int) -> None:
        if k == 5:
            poison()

    before = threading.active_count()
    records = searched(function, "local,timeout=1,memory=100 MB")
    failed = [r for r in records if r.status != "ok"]
    assert len(records) == 10 and [r.candidate["k"] for r in failed] == [5]
    assert re.search(why, failed[0].reason), failed[0].reason
    assert "SIGKILL" not in failed[0].reason or kind == "killed"
    assert failed[0].provenance["strategy"] == "random" and failed[0].provenance["seconds"] >= 0
    assert threading.active_count() <= before + 1
    assert not left_over()


def left_over() -> list[str]:
    """Processes that a candidate has started and that are still there."""
    deadline = time.monotonic() + 10
    while found := [p.parent.name for p in Path("/proc").glob("[0-9]*/cmdline") if MARK in read(p)]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)
    return found


def read(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text()
    return ""


def test_processes_are_kept_from_one_candidate_to_the_next_until_one_ends_them() -> None:
    counted = [0]

    def function(k: int) -> None:
        counted[0] += 1
        warnings.warn(f"{counted[0]} in {os.getpid()}", stacklevel=1)
        if k == 5:
            os._exit(1)

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        records = searched(function, "local,timeout=30")
    seen = [text.split(" in ") for w in said if re.fullmatch(r"\d+ in \d+", text := str(w.message))]
    assert counted == [0] and [r.candidate["k"] for r in records if r.status == "failed"] == [5]
    processes = list(dict.fromkeys(pid for _, pid in seen))
    # Of the one that ended, and the fresh one in which the candidate was tried again, nothing is heard of that one.
    assert 1 <= len(processes) <= 2 and str(os.getpid()) not in processes
    for pid in processes:
        assert [int(n) for n, at in seen if at == pid] == list(range(1, sum(at == pid for _, at in seen) + 1))


def test_one_that_a_former_one_broke_is_tried_again() -> None:
    """What crashes because of what another did before is not to blame."""
    broken = [False]

    def function(k: int) -> None:
        if broken[0]:
            os._exit(1)
        broken[0] = k == 5

    assert all(r.status == "ok" for r in searched(function))


def test_one_that_was_killed_from_outside_is_evaluated_once_more(tmp_path: Path) -> None:
    def function(k: int) -> None:
        if k == 0 and not (tmp_path / "killed").exists():  # the first of all: its process has evaluated no other
            (tmp_path / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)

    assert all(r.status == "ok" for r in searched(function)) and (tmp_path / "killed").exists()


@pytest.mark.parametrize("racing", [0.0, 0.9])
def test_records_are_those_of_this_process(racing: float) -> None:
    class Races(Own):
        """Stops who is lost; tells what it was told of the others."""

        races = True

        def measure(self, context: EvaluationContext) -> Mapping[str, nw.Measurement]:
            k = int(context.candidate["k"])  # type: ignore[call-overload]
            if k == 4:
                raise ValueError("four")
            if k == 6:
                return {}
            if context.race and context.race.lost("q", k + 0.5):
                partial = {"of": context.race.totals["q"], "confidence": context.race.confidence}
                return {"q": nw.Measurement(k, n=2, kind="partial", best_case=k + 0.5, details=partial)}
            return {"q": nw.Measurement(float(k), n=8)}

    def go(executor: str) -> list[Any]:
        space = nw.Space([nw.Choice("k", tuple(range(10))), nw.Choice("pair", ((1, 2), (3, 4)))])
        cost = FakeMeasurer(nw.Metric("cost"), lambda c: float(c["k"] == 9))  # type: ignore[arg-type]
        objectives, limits = [Races(lambda _: None), cost], ["cost <= 0.5"]
        study = nw.Study(MemoryStore(), FakeNet(space), objectives=objectives, limits=limits, racing=racing)
        records = [r.to_json() for r in study.run("random", 20, executor=executor)]
        for record in records:
            del record["provenance"]["time"], record["provenance"]["seconds"]
        return records

    told = go("local,timeout=30,memory=10 GB")
    assert told == go("local")
    kinds = {m["kind"] for record in told for m in record["measurements"].values()}
    assert ("partial" in kinds) == bool(racing) and {r["status"] for r in told} == {"ok", "failed", "infeasible"}


def test_a_candidate_s_fork_that_comes_back_answers_nothing() -> None:
    def function(k: int) -> None:
        if k == 5:
            os.fork()

    assert [r.values["q"] for r in searched(function)] == [r.candidate["k"] for r in searched(lambda _: None)]


def test_what_it_prints_is_printed_once(capfd: pytest.CaptureFixture[str]) -> None:
    print("before", end="")
    searched(lambda k: print(f"k={k}"))
    said = capfd.readouterr().out
    assert said.startswith("before") and said.count("before") == 1
    assert sorted(said.removeprefix("before").split()) == sorted(f"k={k}" for k in range(10))


def test_temporary_files_go_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def function(k: int) -> None:
        tempfile.mkstemp()
        if k == 5:
            os._exit(1)

    assert len(searched(function)) == 10
    assert not list(tmp_path.iterdir()) and tempfile.tempdir == str(tmp_path)


def test_faults_of_the_machine_and_interruptions_are_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(k: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def interrupted(k: int) -> None:
        raise KeyboardInterrupt

    def none() -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    with pytest.raises(MachineFault, match="the disk is full"):
        searched(full)
    with pytest.raises(KeyboardInterrupt):
        searched(interrupted)
    monkeypatch.setattr(os, "fork", none)
    with pytest.raises(MachineFault, match="no process can be started to evaluate networks in"):
        searched(lambda _: None)


def test_it_ends_with_the_process_that_asks(tmp_path: Path) -> None:
    script = tmp_path / "s.py"
    script.write_text(
        "import os, time, netwright as nw\n"
        "def evaluate(c):\n    print(os.getpid(), flush=True)\n    time.sleep(600)\n"
        "nw.search(nw.Space([nw.Choice('k', (1, 2))]), evaluate, {'q': 'max'}, timeout=600)\n"
    )
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    own = int(process.stdout.readline())
    assert own != process.pid and Path(f"/proc/{own}").exists()
    process.kill()
    process.wait()
    deadline = time.monotonic() + 30
    while Path(f"/proc/{own}").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not Path(f"/proc/{own}").exists()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_killed_at_random_moments_among_poison(seed: int, tmp_path: Path) -> None:
    """The search that asks is killed again and again, and loses nothing: all kinds of poison fail in the end."""
    script, path, draw = tmp_path / "s.py", tmp_path / "s.db", random.Random(seed)
    kinds = ["ctypes.string_at(0)", "os._exit(0)", "os._exit(3)", "sys.exit(3)", "time.sleep(600)", "take()",
             "os.kill(os.getpid(), 9)", "os.kill(os.getpid(), signal.SIGSTOP)"]  # fmt: skip
    script.write_text(
        "import ctypes, os, signal, sys, time, netwright as nw\n"
        "def take():\n    taken = []\n    while True:\n        taken.append(b'x' * (1 << 24))\n"
        f"kinds = {kinds!r}\n"
        "def evaluate(c):\n    time.sleep(0.05)\n    if c['k'] < len(kinds):\n        exec(kinds[c['k']])\n"
        "    return {'q': c['k']}\n"
        "space = nw.Space([nw.Choice('k', tuple(range(30)))])\n"
        "nw.search(space, evaluate, {'q': 'max'}, strategy='random', evaluations=30, store=sys.argv[1], timeout=1,\n"
        "          memory='200 MB')\n"
    )
    known: dict[str, Any] = {}
    for _ in range(8):
        process = subprocess.Popen([sys.executable, str(script), str(path)], stderr=subprocess.DEVNULL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(draw.uniform(0.5, 4))
        process.kill()
        process.wait()
        if path.exists():
            records = {body["id"]: body for kind, body in SqliteStore(path).read() if kind == "record"}
            assert records.items() >= known.items(), "what was measured stays as it was"
            known = records
    done = subprocess.run([sys.executable, str(script), str(path)], stderr=subprocess.PIPE, timeout=60, text=True)
    assert done.returncode == 0 and "8 of 30 networks could not be measured" in done.stderr
    entries = list(SqliteStore(path).read())
    assert sum(kind == "record" for kind, _ in entries) == 30
    failed = {body["candidate"]["k"] for kind, body in entries if kind == "record" and body["status"] == "failed"}
    assert failed == set(range(8))


def test_threads_of_torch_work_there() -> None:
    """A fork of a thread that has used OpenMP's would wait for them for ever."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    x = torch.randn(512, 512)

    def function(k: int) -> None:
        assert torch.get_num_threads() == 2
        (
            torch.nn.functional.conv2d(x.view(1, 2, 256, 512), torch.randn(4, 2, 3, 3, requires_grad=True))
        ).sum().backward()
        torch.relu(x @ x)

    try:
        function(0)
        assert [r.reason for r in searched(function)] == [""] * 10
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("local,timeout=-1", "timeout is a number of seconds"),
        ("local,timeout=many", "timeout must be a number or none"),
        ("local,memory=2", "memory is a size such as '2 GB'"),
        ("local,memory=0 GB", "memory is a size such as '2 GB'"),
        ("local,memory=2 XB", "memory is a size such as '2 GB'"),
        ("locl", "did you mean 'local'"),
    ],
)
def test_what_is_no_limit_is_refused(text: str, said: str) -> None:
    with pytest.raises(CallError, match=said):
        searched(lambda _: None, text)


@pytest.mark.parametrize("timeout", ["30", True, float("nan"), -1])
def test_what_is_no_limit_is_refused_in_python_too(timeout: Any) -> None:
    with pytest.raises(CallError, match="timeout is a number"):
        nw.search(SPACE, lambda c: {"q": 1.0}, {"q": "max"}, timeout=timeout)


def test_no_process_that_uses_cuda_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    with pytest.raises(MeasureError, match="a process that uses CUDA cannot be copied"):
        Local(30).evaluate(Job(nw.Study(MemoryStore(), FakeNet(SPACE), objectives=[Own(print)]).plan, SPACE.smallest))


class Elsewhere(Executor):
    """One of a person's own."""

    def __init__(self, marks: bool = False) -> None:
        self.marks, self.closed = marks, 0
        self.jobs: list[Job] = []

    def submit(self, job: Job) -> None:
        self.jobs.append(job)

    def results(self, seconds: float | None = None) -> list[tuple[Job, nw.Record]]:
        jobs, self.jobs = self.jobs, []
        marked = [replace(job, provenance={**job.provenance, "marked": self.marks}) for job in jobs]
        return [(job, evaluate(each)) for job, each in zip(jobs, marked, strict=True)]

    def close(self) -> None:
        self.closed += 1


def test_an_executor_may_be_ones_own() -> None:
    mine = Elsewhere()
    study = nw.Study(MemoryStore(), FakeNet(SPACE), objectives=[Own(lambda _: None)])
    study.run("random", 3, executor=mine)
    assert mine.closed == 1
    study.run("random", 5, executor=f"{__name__}:Elsewhere,marks=true")
    assert [r.provenance["marked"] for r in study.records] == [False] * 3 + [True] * 2


def test_a_probe_has_the_same_limits() -> None:
    class Device(Own):
        on_device = True
        depends_on_weights = False

    study = nw.Study(MemoryStore(), FakeNet(SPACE), objectives=[Device(lambda _: forever())])
    with pytest.raises(MeasureError, match=r"took more than 0.2 s"):
        study.probe("local,timeout=0.2")


def test_where_there_is_no_descriptor_left_nothing_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe, made = os.pipe, []

    def one() -> tuple[int, int]:
        if made:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        made.append(pipe())
        return made[0]

    plan = nw.Study(MemoryStore(), FakeNet(SPACE), objectives=[Own(print)]).plan
    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "pipe", one)
    with pytest.raises(MachineFault, match="too many files are open"):
        Local(30).evaluate(Job(plan, SPACE.smallest))
    assert len(os.listdir("/proc/self/fd")) == before
