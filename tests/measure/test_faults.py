"""A runtime that crashes, hangs or lies: told in words, nothing else is lost, and the next is measured."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import netwright as nw
from netwright.core.errors import MachineFault, MeasureError
from netwright.measure import process
from netwright.measure.process import KEEPING, worker
from netwright.measure.sampling import SamplingPlan
from netwright.measure.targets import Target, parse_target

QUICK = SamplingPlan(precision=0.5, max_seconds=0.05, repeats=0)
FEEDS = {"input": np.ones((1, 4), np.float32)}
MOODS = {
    "segfault": "crashed (SIGSEGV)",
    "abort": "crashed (SIGABRT)",
    "exit": "exit code 3 and no answer",
    "killed": "was killed twice (SIGKILL): most likely out of memory",
    "restarts": "was killed twice (SIGKILL): most likely out of memory",
    "out of memory": "out of memory: MemoryError: cannot allocate 1 TB",
    "raise": "ValueError: the input is too sad",
    "wrong": "computes something else than PyTorch: its outputs differ by 0.5",
    "hang": "gave no answer within 2 s",
    "unconvertible": "moody has no operator aten::sulk",
}


class Moody(nn.Module):
    """Twice its input; the mood is how the runtime will behave."""

    def __init__(self, mood: str) -> None:
        super().__init__()
        self.mood = mood

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


class Moods:
    """A super-network of networks with moods."""

    last = ""
    """Who was extracted last."""
    space = nw.Space([nw.Choice("mood", ("well", *MOODS))])
    example_inputs = torch.randn(1, 4)

    def extract(self, candidate: nw.Candidate) -> nn.Module:
        self.last = str(candidate["mood"])
        return Moody(str(candidate["mood"]))


IMPATIENT_S = 1.5
"""For what hangs. The others have a minute: a busy machine may take seconds to begin."""


@pytest.fixture
def latency(moody: str) -> nw.Latency:
    return nw.Latency(parse_target(moody), QUICK)


def test_a_runtime_of_somebody_else_is_a_target_like_others(latency: nw.Latency, mood: Path) -> None:
    mood.write_text("well")
    found = latency.run(mood, FEEDS, [2 * FEEDS["input"]])
    assert found["latency"].value > 0 and found["latency"].details["mood"] == "well"
    assert latency.target["runtime"] == "moody" and "numpy" in latency.target["versions"]


@pytest.mark.parametrize("how", [m for m in MOODS if m != "unconvertible"])
def test_each_fault_is_told_and_the_next_is_measured(
    latency: nw.Latency, mood: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mood.write_text(how)
    with monkeypatch.context() as patch:
        if how == "hang":
            patch.setattr(type(latency.runtime), "slowest_s", IMPATIENT_S)
        with pytest.raises(MeasureError) as told:
            latency.run(mood, FEEDS, [2 * FEEDS["input"]])
    assert (MOODS[how] in str(told.value) and "moody" in str(told.value)) or how in ("raise", "out of memory")
    assert MOODS[how] in str(told.value)
    running = worker(latency.runtime)._child
    mood.write_text("well")
    assert latency.run(mood, FEEDS)["latency"].value > 0
    assert worker(latency.runtime)._child is running or how == "restarts", "the measuring process itself lives on"


def test_a_study_goes_on_after_each_fault(latency: nw.Latency, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moods = Moods()
    patience = property(lambda runtime: IMPATIENT_S if moods.last == "hang" else 60.0)
    monkeypatch.setattr(type(latency.runtime), "slowest_s", patience)
    study = nw.Study(tmp_path / "s.db", moods, objectives=[latency], calibration=())
    records = study.run(nw.Random(), 50)
    assert len(records) == len(MOODS) + 1
    by_mood = {r.candidate["mood"]: r for r in records}
    assert by_mood.pop("well").status == "ok"
    for how, record in by_mood.items():
        assert record.status == "failed" and MOODS[how] in record.reason, record.reason


def test_a_measuring_process_that_is_killed_is_told_and_started_again(latency: nw.Latency, mood: Path) -> None:
    mood.write_text("well")
    latency.run(mood, FEEDS)
    own = worker(latency.runtime)
    assert own._child is not None
    os.kill(own._child.pid, signal.SIGKILL)
    assert own._child.wait(60)
    assert latency.run(mood, FEEDS)["latency"].value > 0


def test_who_was_killed_once_is_measured_again(latency: nw.Latency, mood: Path) -> None:
    mood.write_text("killed once")
    assert latency.run(mood, FEEDS)["latency"].value > 0
    assert mood.with_suffix(".times").read_text() == "once once "


def test_a_full_disk_there_is_not_the_networks_fault(latency: nw.Latency, mood: Path) -> None:
    mood.write_text("full there")
    with pytest.raises(MachineFault, match=r"the disk is full: free some space \(/tmp/cache\)"):
        latency.run(mood, FEEDS)


class Full(Moods):
    space = nw.Space([nw.Choice("mood", ("full there",))])


def test_a_full_disk_there_stops_a_search_and_fails_nothing(latency: nw.Latency, tmp_path: Path) -> None:
    study = nw.Study(tmp_path / "s.db", Full(), objectives=[latency], calibration=())
    with pytest.raises(MachineFault, match=r"the disk is full: free some space \(/tmp/cache\)"):
        study.run(nw.Random(), 5)
    assert not study.records


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's death signal")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_measuring_process_that_is_killed_or_stopped_while_a_network_hangs(
    latency: nw.Latency, mood: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Noticed at once, or after the job's own time; and nothing of it is left behind."""
    mood.write_text("well")
    latency.run(mood, FEEDS)
    own = worker(latency.runtime)
    monkeypatch.setattr(process, "SPARE_S", 0.5)
    monkeypatch.setattr(process, "ENDING_S", 0.2)
    forks: list[int] = []
    log = mood.with_suffix(".times")

    def accident() -> None:
        for turn in range(1 if number == signal.SIGSTOP else 2):
            while log.read_text().count("once") < 2 + turn:
                time.sleep(0.01)
            assert own._child is not None
            forks.extend(children_of(own._child.pid))
            os.kill(own._child.pid, number)

    thread = threading.Thread(target=accident)
    thread.start()
    seconds = 1.0 if number == signal.SIGSTOP else 300.0
    monkeypatch.setattr(type(latency.runtime), "slowest_s", seconds)
    mood.write_text("hang")
    begin = time.monotonic()
    words = "process of moody hangs" if number == signal.SIGSTOP else MOODS["killed"]
    with pytest.raises(MeasureError, match=re.escape(words)):
        latency.run(mood, FEEDS)
    assert time.monotonic() - begin < 100
    thread.join()
    assert len(forks) == (1 if number == signal.SIGSTOP else 2)
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in forks):
        assert time.monotonic() < deadline, "the fork outlives the measuring process"
        time.sleep(0.02)


def children_of(pid: int) -> list[int]:
    """The processes that a process has started and not waited for."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_no_process_can_be_started(latency: nw.Latency, mood: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine is to blame, and the next is measured when it is well again."""
    mood.write_text("well")
    worker(latency.runtime).stop()
    with monkeypatch.context() as patch:
        patch.setattr(process, "Child", _no_more)
        with pytest.raises(MachineFault, match="no measuring process can be started: too many files are open"):
            latency.run(mood, FEEDS)
    assert latency.run(mood, FEEDS)["latency"].value > 0


def _no_more(*given: Any) -> Any:
    raise OSError(errno.EMFILE, "Too many open files")


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_the_measuring_process_keeps_memory_that_is_freed(latency: nw.Latency, mood: Path) -> None:
    mood.write_text("well")
    latency.run(mood, FEEDS)
    running = worker(latency.runtime)._child
    assert running is not None
    told = Path(f"/proc/{running.pid}/environ").read_bytes().decode().split("\0")
    assert {f"{name}={value}" for name, value in KEEPING.items()} <= set(told)

    code = """
import resource, numpy
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
numpy.ones(2 << 20)
before = faults()
for _ in range(50):
    numpy.ones(2 << 20)
print(faults() - before)
"""
    few, many = (
        int(subprocess.run([sys.executable, "-c", code], env={**os.environ, **set_}, capture_output=True).stdout)
        for set_ in (KEEPING, {"MALLOC_MMAP_THRESHOLD_": str(128 << 10)})
    )
    if many < 1000:
        pytest.skip("this system's allocator gives nothing back")
    assert few < many / 10


def test_no_process_is_left_behind_by_one_that_hangs(
    latency: nw.Latency, mood: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(latency.runtime), "slowest_s", IMPATIENT_S)
    mood.write_text("hang")
    with pytest.raises(MeasureError):
        latency.run(mood, FEEDS)
    own = worker(latency.runtime)._child
    assert own is not None
    if not Path(f"/proc/{own.pid}/task/{own.pid}/children").exists():
        pytest.skip("this system does not list a process's children")
    assert children_of(own.pid) == []


def test_memory_is_that_above_idle(latency: nw.Latency, mood: Path) -> None:
    found = {}
    for how in ("well", "greedy", "well"):
        mood.write_text(how)
        found.setdefault(how, latency.run(mood, FEEDS)["memory"].value)
    assert 50e6 <= found["greedy"] - found["well"] <= 55e6


def test_the_job_of_a_driver_that_is_gone_ends(moody: str, mood: Path, tmp_path: Path) -> None:
    """``kill -9`` of the driver while a network hangs: nothing keeps running."""
    mood.write_text("hang")
    code = f"""
import numpy as np, netwright as nw
from pathlib import Path
from netwright.measure.process import KEEPING, worker
from netwright.measure.targets import parse_target
latency = nw.Latency(parse_target("moody"))
latency.target
print(worker(latency.runtime)._child.pid, flush=True)
latency.run(Path({str(mood)!r}), {{"input": np.ones((1, 4), np.float32)}})
"""
    driver = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    pid = int(driver.stdout.readline())
    time.sleep(0.5)
    driver.kill()
    driver.wait()
    deadline = time.monotonic() + 60
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize(
    "text, words",
    [
        ("onnxruntme", ["'onnxruntme'", "did you mean 'onnxruntime'"]),
        ("onnxruntime,thread=2", ["'thread'", "did you mean 'threads'"]),
        ("onnxruntime,threads=two", ["threads", "whole number", "'two'"]),
        ("onnxruntime,threads=0", ["threads", "from 1 to 4,096", "0"]),
        ("onnxruntime,threads=4097", ["threads", "from 1 to 4,096"]),
        ("onnxruntime,batch=1" + "0" * 400, ["batch", "from 1 to"]),
        ("onnxruntime,precision=int4", ["'int4'", "int8"]),
        ("onnxruntime,provider=cude", ["'cude'", "did you mean 'cuda'"]),
        ("ftp://pi/onnxruntime", ["http://", "ftp://pi"]),
        ("http://pi:7653", ["onnxruntime"]),
        ("onnxruntime,threads", ["'threads'", "name=value"]),
        ("no_such_module:Mine", ["cannot import 'no_such_module'"]),
        ("collections:Counter", ["gives a Counter", "no runtime"]),
        ("torch,graphs=maybe", ["graphs", "true or false"]),
    ],
)
def test_a_target_that_cannot_be_is_told(text: str, words: list[str]) -> None:
    with pytest.raises(MeasureError) as told:
        parse_target(text)
    assert all(word in str(told.value) for word in words), told.value


def test_a_target_is_written_as_it_is_read() -> None:
    for text in ("onnxruntime", "openvino,threads=2,precision=bfloat16", "ssh://pi/onnxruntime,batch=4"):
        assert str(parse_target(text)) == text
    assert parse_target("onnxruntime") == Target(nw.targets.OnnxRuntime())


def test_a_provider_that_is_absent_is_an_error_and_never_another_one(tmp_path: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    network, target = nn.Linear(4, 4), parse_target("onnxruntime,provider=cuda")
    latency: Any = nw.Latency(target, QUICK)
    latency.write(network, torch.zeros(1, 4), tmp_path / "x.onnx")
    with pytest.raises(MeasureError, match=r"no CUDAExecutionProvider.*provider=cpu"):
        latency.of(tmp_path / "x.onnx", torch.zeros(1, 4), network)
