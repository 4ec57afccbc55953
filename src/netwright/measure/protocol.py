"""How a run time is measured: warm-up, interleaved reference, samples until the interval is narrow.

A latency is a distribution. The value is the median over samples; its spread is half the 95 % interval of the
median in the long run, by order statistics or by how much the medians of blocks of samples scatter, whichever is
wider, and by what processes differ by. The state of a machine that is shared (its last cache, its memory) stays for
seconds: a measurement of one second sees little more than one draw of it, whatever the number of samples.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, sqrt
from typing import Any, Literal

import numpy as np

from ..core.metric import Measurement

Run = Callable[[], object]
Clock = Literal["cpu", "wall", "device"]


@dataclass(frozen=True)
class Protocol:
    """When to stop measuring.

    Args:
        width: half the 95 % interval of the median, relative to the median, that is narrow enough.
        budget_s: the most seconds of sampling, warm-up included; the width that was reached is recorded.
        least_s: the fewest, unless the budget is less: in a shorter time a machine's state hardly changes.
        sample_s: calls are grouped so that a sample takes at least this long; far less than a scheduler's quantum,
            so that most samples are not interrupted.
        drift: how far the reference may move from its baseline before the measurement is taken again.
        repeats: how often it is taken again at most.
    """

    width: float = 0.02
    budget_s: float = 1.0
    least_s: float = 0.3
    sample_s: float = 0.0004
    drift: float = 0.10
    repeats: int = 2


LEAST_SAMPLES = 25
FEWEST_SAMPLES = 7
"""Where the budget is spent before there are :data:`LEAST_SAMPLES`; fewer have no 95 % interval."""


EVERY = 5
"""Samples between two looks at the reference, which leaves the caches to the network again."""


@dataclass(frozen=True)
class Timing:
    """Times per call in milliseconds, by clock; CPU time of the reference, and of the stream through memory; and the
    reference's wall time over its CPU time: more than 1 where it waited for the core."""

    times: Mapping[Clock, np.ndarray]
    reference: float
    stream: float
    waited: float = 1.0


def measure_latency(
    run: Run, protocol: Protocol, clock: Clock, device_ms: Callable[[int], float | None] = lambda calls: None
) -> Measurement:
    """The time of one call, in ms.

    With one thread on the CPU the value should be the process's CPU time: on an idle machine it equals the wall time,
    and neighbours that take the core away do not count. With several threads, and elsewhere, it is the wall time; on
    a device with a clock of its own that clock's. All are in ``how``, with percentiles, and the time relative to the
    reference workload.

    Args:
        run: one inference, waited for.
        protocol: when to stop.
        clock: that the value is of, where the device has none of its own.
        device_ms: :meth:`netwright.measure.runtimes.base.Session.device_ms`.
    """
    begin = time.perf_counter()
    clock = "device" if device_ms(1) is not None else clock
    timing = _sample(run, protocol, clock, device_ms)
    repeated = 0
    while abs(moved := timing.reference / baseline()[0] - 1) > protocol.drift and repeated < protocol.repeats:
        if time.perf_counter() - begin > 3 * protocol.budget_s:  # one inference takes longer than the budget
            break
        timing = _sample(run, protocol, clock, device_ms)
        repeated += 1
    crowded = timing.stream / baseline()[1] - 1
    chosen = timing.times[clock]
    how: dict[str, Any] = {
        **{name: _summary(times) for name, times in timing.times.items()},
        "clock": clock,
        "relative": float(np.median(chosen) / timing.reference),
        "drift": round(moved, 4),
        "memory_drift": round(crowded, 4),
    }
    if repeated:
        how["repeated"] = repeated
    if abs(moved) > protocol.drift:
        why = "neighbours use the cores" if timing.waited > 1.2 else "its clock changed (heat, power saving)"
        how["warning"] = f"the core's speed moved by {moved:+.0%} while this was measured: {why}"
    elif crowded > CROWDED:
        how["warning"] = f"the memory was slower by {crowded:.0%} while this was measured: neighbours use it"
    return Measurement(float(np.median(chosen)), "ms", spread=interval(chosen), n=len(chosen), how=how)


def throughput(latency: Measurement, batch: int) -> Measurement:
    """Inputs a second at a batch size, from the latency of the batch."""
    value = batch * 1e3 / latency.value
    return Measurement(value, "/s", spread=value * latency.spread / latency.value, n=latency.n, how={"batch": batch})


def ratios(first: Run, second: Run, protocol: Protocol, clock: Clock) -> list[float]:
    """How many times as long as the first the second takes, pair by pair: A B, B A, A B, ... for the budget's time."""
    runs = (first, second)
    calls = [_warm_up(run, protocol.sample_s, clock) for run in runs]
    found: list[float] = []
    deadline = time.perf_counter() + protocol.budget_s
    while time.perf_counter() < deadline or len(found) < FEWEST_SAMPLES:
        order = (0, 1) if len(found) % 2 else (1, 0)
        took = {at: _time(runs[at], calls[at])[clock] for at in order}
        found.append(took[1] / took[0])
    return found


def _sample(
    run: Run, protocol: Protocol, clock: Clock, device_ms: Callable[[int], float | None] = lambda calls: None
) -> Timing:
    """Samples until the times by one clock are known well enough."""
    begin = time.perf_counter()
    stream = _streamed()
    calls = _warm_up(run, protocol.sample_s, "wall" if clock == "device" else clock)
    reference = _reference()
    names: tuple[Clock, ...] = ("cpu", "wall", "device") if clock == "device" else ("cpu", "wall")
    times: dict[Clock, list[float]] = {name: [] for name in names}
    beside: list[dict[Clock, float]] = []
    deadline, least = begin + protocol.budget_s, begin + min(protocol.least_s, protocol.budget_s)
    while True:
        for at in range(LEAST_SAMPLES):
            if at % EVERY == 0:
                reference()  # the network has taken the cache: the first call is slower by up to 80 %
                beside.append(_time(reference, 1))
                run()  # and the other way round
            for name, value in _time(run, calls).items():
                times[name].append(value)
            if clock == "device":
                times[clock].append(device_ms(calls) or 0.0)
            if len(times[clock]) >= FEWEST_SAMPLES and time.perf_counter() > deadline:
                break
        chosen, now = np.array(times[clock]), time.perf_counter()
        if now > deadline or (now > least and half_width(chosen) <= protocol.width * float(np.median(chosen))):
            found = {name: np.array(values) for name, values in times.items()}
            core, wall = (float(np.median([b[name] for b in beside])) for name in ("cpu", "wall"))
            mean = float(np.mean([b["wall"] for b in beside]))
            return Timing(found, core, (stream + _streamed()) / 2, max(wall, mean) / core)


def _warm_up(run: Run, sample_s: float, clock: Clock, most_s: float = 0.3) -> int:
    """Run until two windows in a row agree within 5 %; returns the number of calls that make a sample."""
    begin = time.perf_counter()
    run()
    once = max(_time(run, 1)["wall"] / 1e3, 1e-7)
    calls = max(1, ceil(sample_s / once))
    before = None
    while time.perf_counter() - begin < most_s:
        window = float(np.median([_time(run, calls)[clock] for _ in range(5)]))
        if before is not None and abs(window / before - 1) < 0.05:
            break
        before = window
    return max(1, ceil(sample_s / max(_time(run, calls)[clock] / 1e3, 1e-7)))


def _time(run: Run, calls: int) -> dict[Clock, float]:
    """CPU time of this process and wall time per call, in ms.

    All threads of the process are counted: a runtime may compute in threads of its own. Nothing else runs in it.
    """
    wall, cpu = time.perf_counter_ns(), time.process_time_ns()
    for _ in range(calls):
        run()
    cpu, wall = time.process_time_ns() - cpu, time.perf_counter_ns() - wall
    return {"cpu": cpu / calls / 1e6, "wall": wall / calls / 1e6}


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
def _memory() -> tuple[np.ndarray, np.ndarray]:
    return np.ones((64, 32768)), np.empty((64, 32768))


def _streamed() -> float:
    """The CPU time of a stream through 32 MB, in ms: what slows networks down that do not fit the nearer caches. It
    empties these, and so cannot stand between samples."""
    source, sink = _memory()

    def run() -> None:
        for i in range(len(source)):
            np.add(source[i], 1.0, out=sink[i])

    run()
    return float(np.median([_time(run, 1)["cpu"] for _ in range(5)]))


@lru_cache(maxsize=1)
def baseline() -> tuple[float, float]:
    """The CPU times of reference and stream when this process, or the one that it was forked from, first asked."""
    reference = _reference()
    return float(np.median([_time(reference, 1)["cpu"] for _ in range(200)][50:])), _streamed()


BLOCKS = 8
CROWDED = 1.0
"""By how much slower the stream through memory is, relative, when neighbours are named: it scatters by a third."""


PROCESSES = 0.02
"""Half the 95 % interval, relative, of what processes differ by that run the same file: where its memory lies. Six
sessions of one file, measured in turn, differed by standard deviations of 0.8 to 1.4 %."""


def interval(samples: np.ndarray) -> float:
    """Half the 95 % interval that is stated: of what this process saw, and of what processes differ by."""
    return float(np.hypot(half_width(samples), PROCESSES * np.median(samples)))


def half_width(samples: np.ndarray) -> float:
    """Half the 95 % interval of the median in the long run of this process, from samples in the order of time."""
    return max(by_order(samples), _by_blocks(samples))


def by_order(samples: np.ndarray) -> float:
    """From order statistics (normal approximation of the binomial): right for independent samples."""
    ordered = np.sort(samples)
    n = len(ordered)
    reach = 1.96 * sqrt(n) / 2
    low, high = max(0, int(n / 2 - reach)), min(n - 1, ceil(n / 2 + reach))
    return float(ordered[high] - ordered[low]) / 2


def _by_blocks(samples: np.ndarray) -> float:
    """From how much the medians of eight blocks in a row scatter (Student's t).

    Not divided by the root of their number: the blocks of a second share most of the machine's state, and together are
    hardly more than one draw of it (``benchmarks/repeatability.py`` counts how often the interval holds the median of
    the long run).
    """
    if len(samples) < 2 * BLOCKS:
        return 0.0
    medians = [np.median(block) for block in np.array_split(samples, BLOCKS)]
    return 2.365 * float(np.std(medians, ddof=1))


def _summary(samples: np.ndarray) -> dict[str, float]:
    p50, p90, p99 = np.percentile(samples, [50, 90, 99])
    return {"median": float(p50), "p90": float(p90), "p99": float(p99), "spread": interval(samples)}
