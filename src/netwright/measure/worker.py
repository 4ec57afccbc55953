"""The process in which networks are measured: ``python -m netwright.measure.worker``.

It reads jobs, a line of JSON each, and answers each with a line of JSON. It imports the runtime once and forks for
each job: a job finds a process that holds nothing but the runtime, so that its memory and its threads are its own, and
one that crashes, hangs or is killed takes nothing with it. Nothing here needs torch unless the runtime does.
"""

from __future__ import annotations

import base64
import io
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from ..core.children import Fork, how_it_ended
from ..core.cores import take_kept
from ..core.errors import MeasureError, NetwrightError, format_error
from ..core.faults import fix_of, machine_fault
from ..core.metric import Measurement
from ..core.version import __version__
from . import agreement, sampling
from .baseline import BaselineStore
from .clocks import Clock
from .energy import energy, unavailable
from .feeds import read_feeds, write_feeds
from .machine import clock_mhz, machine, memory, pin, pinned, reset_peak
from .process import BEGINS
from .reference import Readings, first_readings
from .runtimes import from_json, to_json
from .runtimes.base import Runtime
from .sampling import SamplingPlan

MOST_BYTES = 16 << 20
"""Of outputs in one answer; the rest is asked for again."""


def main() -> None:
    """Answer until the input ends."""
    # What a runtime prints must not mix with the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    take_kept()
    with pinned():
        first_readings()
    preloaded: set[str] = set()
    while line := sys.stdin.readline():
        try:
            job = json.loads(line)
            runtime = from_json(job["runtime"])
            if runtime.name not in preloaded:
                type(runtime).require()
                runtime.preload()
                preloaded.add(runtime.name)
            answers.write(json.dumps(BEGINS) + "\n")
            answer = _in_a_fork(runtime, job, answers.fileno())
        except Exception as error:
            answer = _failed(error)
        answers.write(json.dumps(answer) + "\n")


def _in_a_fork(runtime: Runtime, job: Mapping[str, Any], answers: int) -> dict[str, Any]:
    """The answer of a forked process; the reason where it gives none."""

    def work() -> bytes:
        try:
            for file in () if job.get("trust") is True else job.get("files", ()):
                runtime.guard(Path(file))
            answer = JOBS[job["job"]](runtime, job)
        except BaseException as error:
            answer = _failed(error)
        return json.dumps(answer).encode()

    try:
        fork = Fork(work, close=[answers])
    except OSError as error:  # too many processes, too many files: whatever the reason, no network is to blame
        return {"failed": f"no process can be started: {format_error(error)}", "errno": error.errno}
    try:
        text = fork.read(float(job["seconds"]), until=0)
    except InterruptedError:  # no job comes before the answer to the last one: the asking process is gone
        raise SystemExit(0) from None
    finally:
        code = fork.stop()
    if text is None:
        return {"failed": f"{runtime.name} gave no answer within {job['seconds']:g} s and was ended"}
    if not text:
        return {"failed": f"{runtime.name} {how_it_ended(code)}{' and no answer' if code >= 0 else ''}", "code": code}
    found: dict[str, Any] = json.loads(text)
    return found


def _failed(error: BaseException) -> dict[str, Any]:
    if fault := machine_fault(error):
        return {"failed": fix_of(fault), "errno": fault.errno}
    known = isinstance(error, NetwrightError)
    words = "out of memory: " + format_error(error) if isinstance(error, MemoryError) else format_error(error)
    return {"failed": words, **({} if known else {"trace": traceback.format_exc()[-2000:]})}


# -- jobs --------------------------------------------------------------------------------------------------------


def describe(runtime: Runtime, job: Mapping[str, Any]) -> dict[str, Any]:
    """The runtime, its settings and this machine; and why energy cannot be measured here, if it cannot."""
    told = {**to_json(runtime), **runtime.describe()}
    return {
        "target": {**told, **{k: v for k, v in machine().items() if k != "fingerprint"}},
        "no_energy": unavailable(told["device"]),
        "netwright": __version__,
    }


def inputs(runtime: Runtime, job: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs that a file names, and the dimensions of each that it leaves open."""
    path = Path(job["files"][0])
    shapes = {name: list(what) for name, what in runtime.signature(path).items()}
    return {"inputs": shapes, "free": {name: list(dims.items()) for name, dims in runtime.free(path).items()}}


def runs(runtime: Runtime, job: Mapping[str, Any]) -> dict[str, Any]:
    """Nothing, if a file runs with some inputs."""
    runtime.open(Path(job["files"][0]), read_feeds(Path(job["feeds"]))).run()
    return {}


def measure(runtime: Runtime, job: Mapping[str, Any]) -> dict[str, Any]:
    """One file: whether it computes what it should, its latency, throughput and memory, and energy if asked for."""
    plan = SamplingPlan(**job["plan"])
    cores = pin(runtime.threads)
    feeds = read_feeds(Path(job["feeds"]))
    idle = _resident()
    session = runtime.open(Path(job["files"][0]), feeds)
    begin = time.perf_counter()
    outputs = session.outputs()
    once = time.perf_counter() - begin
    if 20 * once > job["seconds"]:
        raise MeasureError(
            f"one inference takes {once:.1f} s: too long for a budget of {plan.max_seconds:g} s; give more"
        )
    difference = _compare(outputs, job, runtime)
    for _ in range(2):
        session.run()
    peak = _peak()
    how = {"cores": cores, "mhz": clock_mhz(), **session.notes, **difference}
    store = BaselineStore(cores)
    baseline = store.get() if runtime.describe()["device"] == "cpu" else None
    latency = sampling.measure_latency(session.run, plan, _clock(runtime), session.device_ms, baseline)
    store.note(Readings(**latency.details["reference"]))
    latency = replace(latency, details={**latency.details, **{k: v for k, v in how.items() if v not in (None, [])}})
    found = {"latency": latency, "throughput": sampling.throughput(latency, runtime.batch)}
    if idle is not None and peak is not None:
        found["memory"] = Measurement(float(peak - idle), "B", details={"idle": idle})
    if "energy" in job["wanted"]:
        found["energy"] = energy(session.run, runtime.describe()["device"])
    return {"measurements": {name: m.to_json() for name, m in found.items()}}


def compare(runtime: Runtime, job: Mapping[str, Any]) -> dict[str, Any]:
    """Two files in turn, each with its own inputs: which is faster, by how much, how sure."""
    pin(runtime.threads)
    sessions = [runtime.open(Path(f), read_feeds(Path(g))) for f, g in zip(job["files"], job["feeds"], strict=True)]
    runs = [s.run for s in sessions]
    return {"ratios": sampling.ratios(runs[0], runs[1], SamplingPlan(**job["plan"]), _clock(runtime))}


def outputs(runtime: Runtime, job: Mapping[str, Any]) -> dict[str, Any]:
    """What a file computes of inputs that stand one after the other along a first dimension: of as many as half of the
    job's time allows, as the bytes of an ``.npz`` file."""
    begin = time.monotonic()
    pin(runtime.threads)
    feeds = read_feeds(Path(job["feeds"]))
    session = runtime.open(Path(job["files"][0]), {name: value[0] for name, value in feeds.items()})
    found = [session.outputs()]
    size = sum(each.nbytes for each in found[0])
    for i in range(1, min(len(value) for value in feeds.values())):
        if time.monotonic() - begin > float(job["seconds"]) / 2 or (len(found) + 1) * size > MOST_BYTES:
            break
        session.feed({name: value[i] for name, value in feeds.items()})
        found.append(session.outputs())
    content = io.BytesIO()
    write_feeds(content, {f"output{i}": np.stack(each) for i, each in enumerate(zip(*found, strict=True))})
    return {"outputs": base64.b64encode(content.getvalue()).decode()}


def probe(runtime: Runtime, job: Mapping[str, Any]) -> dict[str, Any]:
    """Small files on the same inputs: the least time of one inference of each, and how far each of its outputs is from
    the one that is expected."""
    pin(runtime.threads)
    feeds = read_feeds(Path(job["feeds"]))
    expected = list(read_feeds(Path(job["expected"])).values())
    sessions = [runtime.open(Path(file), feeds) for file in job["files"]]
    errors = [[_error(got, want) for got, want in zip(s.outputs(), expected, strict=False)] for s in sessions]
    return {"ms": sampling.least_ms([s.run for s in sessions], _clock(runtime)), "errors": errors}


def profile(runtime: Runtime, job: Mapping[str, Any]) -> dict[str, Any]:
    """The operators that a file is run by, with the time of each, sampled for a quarter of the job's time at most."""
    pin(runtime.threads)
    seconds = min(SamplingPlan(**job["plan"]).max_seconds, float(job["seconds"]) / 4)
    found = runtime.profile(Path(job["files"][0]), read_feeds(Path(job["feeds"])), seconds)
    return {"operators": [asdict(each) for each in found]}


JOBS: Mapping[str, Callable[[Runtime, Mapping[str, Any]], dict[str, Any]]] = {
    "describe": describe,
    "inputs": inputs,
    "runs": runs,
    "measure": measure,
    "compare": compare,
    "outputs": outputs,
    "probe": probe,
    "profile": profile,
}


def _error(got: np.ndarray, want: np.ndarray) -> float:
    """How far an output is from the expected one; a number of JSON also where it is none."""
    error = float(np.abs(got.astype(np.float64) - want).max())
    return error if isfinite(error) else sys.float_info.max


def _clock(runtime: Runtime) -> Clock:
    """CPU time where one thread of the CPU does all of it."""
    return "cpu" if runtime.threads == 1 and runtime.describe()["device"] == "cpu" else "wall"


def _compare(outputs: list[np.ndarray], job: Mapping[str, Any], runtime: Runtime) -> dict[str, float]:
    """How far the outputs are from PyTorch's. Raises :class:`MeasureError` where it is too far."""
    if not job.get("expected"):
        return {}
    wanted = list(read_feeds(Path(job["expected"])).values())
    worst = agreement.differences(outputs, wanted, runtime.name)
    agreement.check(worst, runtime.precision, runtime.name, real=False)
    return {"difference": worst}


def _resident() -> int | None:
    """Bytes in memory now, from which the peak is counted anew; None where the system does not tell."""
    try:
        reset_peak()
        return memory("VmRSS")
    except OSError:
        return None


def _peak() -> int | None:
    try:
        return memory("VmHWM")
    except OSError:
        return None


if __name__ == "__main__":
    main()
