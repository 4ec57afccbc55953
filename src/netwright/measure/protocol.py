"""How a run time is measured: warm-up, interleaved reference, samples until the interval is narrow.

A latency is a distribution. The value is the median over samples; its spread is half the 95 % interval of the
median by order statistics, which assumes nothing about the distribution's form.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, sqrt

import numpy as np

from ..core.metric import Measurement

Run = Callable[[], object]


@dataclass(frozen=True)
class Protocol:
    """When to stop measuring.

    Args:
        width: half the 95 % interval of the median, relative to the median, that is narrow enough.
        budget_s: the most seconds of sampling; the width that was reached is recorded.
        sample_s: calls are grouped so that a sample takes at least this long; far less than a scheduler's quantum,
            so that most samples are not interrupted.
        drift: how far the reference may move from its baseline before the measurement is taken again.
        repeats: how often it is taken again at most.
    """

    width: float = 0.02
    budget_s: float = 1.0
    sample_s: float = 0.0004
    drift: float = 0.10
    repeats: int = 2


LEAST_SAMPLES = 25
FEWEST_SAMPLES = 7
"""Where the budget is spent before there are :data:`LEAST_SAMPLES`; fewer have no 95 % interval."""


@dataclass(frozen=True)
class Timing:
    """Per-call times in milliseconds."""

    cpu: np.ndarray
    wall: np.ndarray
    reference: float


def measure_latency(run: Run, protocol: Protocol, threads: int) -> Measurement:
    """The time of one call, in ms.

    With one thread the value is the thread's CPU time: on an idle machine it equals the wall time, and neighbours
    that take the core away do not count. With several threads it is the wall time. Both are in ``how``, with
    percentiles of the wall time and the time relative to the reference workload.
    """
    clock = 0 if threads == 1 else 1
    baseline = _baseline()
    timing = _sample(run, protocol, clock)
    repeated = 0
    while abs(moved := timing.reference / baseline - 1) > protocol.drift and repeated < protocol.repeats:
        timing = _sample(run, protocol, clock)
        repeated += 1
    chosen = (timing.cpu, timing.wall)[clock]
    how = {
        "cpu": _summary(timing.cpu),
        "wall": _summary(timing.wall),
        "relative": float(np.median(chosen) / timing.reference),
        "drift": round(moved, 4),
    }
    if repeated:
        how["repeated"] = repeated
    if abs(moved) > protocol.drift:
        how["warning"] = f"the machine's speed moved by {moved:+.0%} while this was measured"
    return Measurement(float(np.median(chosen)), "ms", spread=half_width(chosen), n=len(chosen), how=how)


def _sample(run: Run, protocol: Protocol, clock: int) -> Timing:
    """Samples until the times by one clock (0: CPU, 1: wall) are known well enough."""
    calls = _warm_up(run, protocol.sample_s, clock)
    reference = _reference()
    cpu: list[float] = []
    wall: list[float] = []
    beside: list[float] = []
    deadline = time.perf_counter() + protocol.budget_s
    while True:
        for _ in range(LEAST_SAMPLES):
            c, w = _time(run, calls)
            cpu.append(c)
            wall.append(w)
            beside.append(_time(reference, 1)[0])
            if len(cpu) >= FEWEST_SAMPLES and time.perf_counter() > deadline:
                break
        done = time.perf_counter() > deadline
        chosen = np.array((cpu, wall)[clock])
        if done or half_width(chosen) <= protocol.width * float(np.median(chosen)):
            return Timing(np.array(cpu), np.array(wall), float(np.median(beside)))


def _warm_up(run: Run, sample_s: float, clock: int, most_s: float = 0.3) -> int:
    """Run until two windows in a row agree within 5 %; returns the number of calls that make a sample."""
    begin = time.perf_counter()
    run()
    once = max(_time(run, 1)[1] / 1e3, 1e-7)
    calls = max(1, ceil(sample_s / once))
    before = None
    while time.perf_counter() - begin < most_s:
        window = float(np.median([_time(run, calls)[clock] for _ in range(5)]))
        if before is not None and abs(window / before - 1) < 0.05:
            break
        before = window
    return max(1, ceil(sample_s / max(_time(run, calls)[clock] / 1e3, 1e-7)))


def _time(run: Run, calls: int) -> tuple[float, float]:
    """CPU time of this thread and wall time per call, in ms."""
    wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
    for _ in range(calls):
        run()
    cpu, wall = time.thread_time_ns() - cpu, time.perf_counter_ns() - wall
    return cpu / calls / 1e6, wall / calls / 1e6


@lru_cache(maxsize=1)
def _reference() -> Run:
    """A workload that never changes: products of matrices that stay in the nearest cache, on one thread."""
    a = np.linspace(-1, 1, 48 * 48, dtype=np.float32).reshape(48, 48)
    out = np.empty_like(a)

    def run() -> None:
        for _ in range(20):
            np.matmul(a, a, out=out)

    return run


@lru_cache(maxsize=1)
def _baseline() -> float:
    """The reference's CPU time when this process first measured, in ms."""
    reference = _reference()
    return float(np.median([_time(reference, 1)[0] for _ in range(200)][50:]))


def half_width(samples: np.ndarray) -> float:
    """Half the 95 % interval of the median, from order statistics (normal approximation of the binomial)."""
    ordered = np.sort(samples)
    n = len(ordered)
    reach = 1.96 * sqrt(n) / 2
    low, high = max(0, int(n / 2 - reach)), min(n - 1, ceil(n / 2 + reach))
    return float(ordered[high] - ordered[low]) / 2


def _summary(samples: np.ndarray) -> dict[str, float]:
    p50, p90, p99 = np.percentile(samples, [50, 90, 99])
    return {"median": float(p50), "p90": float(p90), "p99": float(p99), "spread": half_width(samples)}
