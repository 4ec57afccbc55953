"""How a run time is measured: warm-up, rounds of samples between reference workloads, until the interval is narrow.

A latency is a distribution. The value is the median over samples; its spread is half the 95 % interval of the
median in the long run.

The machines that measure are rarely alone. Neighbours who take the core do not count in CPU time; neighbours who use
the last cache and the memory do, for seconds to minutes, and networks differ in how much: those that fit a core's own
cache not at all, others by half. So a second reference workload reads as much memory as such networks do. How much a
network is slowed where that workload is, is seen from the rounds of the measurement itself
(:func:`sensitivity`), and the value is what it would be with the memory as fast as it usually is on this machine
(:mod:`netwright.measure.usual`). What was measured stands beside it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, log, sqrt
from typing import Any, Literal

import numpy as np

from ..core.metric import MEASURED, Measurement

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

ROUND_S, ROUND_SAMPLES = 0.02, 2
"""The least seconds, and samples, between two looks at the reference workloads, which take 6 ms on a fast core."""

FEWEST_ROUNDS = 8
"""From which :func:`sensitivity` can be told."""


@dataclass(frozen=True)
class Readings:
    """CPU times, in ms, of the workload that stays in the core's own cache, and of that which reads memory."""

    core: float
    memory: float


@dataclass(frozen=True)
class Usually:
    """What the workload that reads memory takes on a machine in the long run.

    Args:
        memory: its CPU time in ms.
        error: half the 95 % interval of that, relative.
    """

    memory: float
    error: float = 0.0


@dataclass(frozen=True)
class Round:
    """Some samples in a row: times per call in milliseconds, by clock; and, just before them, the reference workloads,
    and the wall time over the CPU time of the first of them: more than 1 where it waited for the core."""

    times: Mapping[Clock, list[float]]
    readings: Readings
    waited: float = 1.0


def measure_latency(
    run: Run,
    protocol: Protocol,
    clock: Clock,
    device_ms: Callable[[int], float | None] = lambda calls: None,
    usual: Usually | None = None,
) -> Measurement:
    """The time of one call, in ms.

    With one thread on the CPU the value should be the process's CPU time: on an idle machine it equals the wall time,
    and neighbours that take the core away do not count. With several threads, and elsewhere, it is the wall time; on
    a device with a clock of its own that clock's. All are in ``how``: ``median`` and percentiles as measured,
    ``steady`` with the memory as fast as usual, and the time relative to the reference workload.

    Args:
        run: one inference, waited for.
        protocol: when to stop.
        clock: that the value is of, where the device has none of its own.
        device_ms: :meth:`netwright.measure.runtimes.base.Session.device_ms`.
        usual: how fast the memory usually is; None, where that is not known or does not matter: the value is the
            median as measured.
    """
    begin = time.perf_counter()
    clock = "device" if device_ms(1) is not None else clock
    rounds = _sample(run, protocol, clock, device_ms)
    repeated = 0
    while abs(readings_of(rounds).core / baseline().core - 1) > protocol.drift and repeated < protocol.repeats:
        if time.perf_counter() - begin > 3 * protocol.budget_s:  # one inference takes longer than the budget
            break
        rounds = _sample(run, protocol, clock, device_ms)
        repeated += 1
    readings = readings_of(rounds)
    drift, crowded = readings.core / baseline().core - 1, readings.memory / (usual or baseline()).memory - 1
    moved = Moved()
    # A device's own clock does not wait for this machine's memory; where the core is slower, both workloads are.
    if usual is not None and clock != "device" and abs(drift) <= protocol.drift:
        moved = _moved(rounds, clock, readings.memory, usual)
    found = {str(name): _summary(_together(rounds, name), moved) for name in rounds[0].times}
    how: dict[str, Any] = {
        **found,
        "clock": clock,
        "relative": found[clock]["median"] / readings.core,
        "drift": round(drift, 4),
        "memory_drift": round(crowded, 4),
        "reference": vars(readings),
    }
    if moved.sensitivity is not None:
        how["sensitivity"] = round(moved.sensitivity, 3)
    if moved.by:
        how[MEASURED] = found[clock]["median"]
    if repeated:
        how["repeated"] = repeated
    if abs(drift) > protocol.drift:
        waits = np.mean([each.waited for each in rounds]) > 1.2
        why = "neighbours use the cores" if waits else "its clock changed (heat, power saving)"
        how["warning"] = f"the core's speed moved by {drift:+.0%} while this was measured: {why}"
    elif crowded > CROWDED:
        how["warning"] = f"the memory was slower by {crowded:.0%} than usual while this was measured: neighbours use it"
    n = len(_together(rounds, clock))
    return Measurement(found[clock]["steady"], "ms", spread=found[clock]["spread"], n=n, how=how)


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
) -> list[Round]:
    """Rounds of samples until the times by one clock are known well enough."""
    begin = time.perf_counter()
    calls = _warm_up(run, protocol.sample_s, "wall" if clock == "device" else clock)
    names: tuple[Clock, ...] = ("cpu", "wall", "device") if clock == "device" else ("cpu", "wall")
    deadline, least = begin + protocol.budget_s, begin + min(protocol.least_s, protocol.budget_s)
    rounds: list[Round] = []
    taken = 0
    while True:
        now = time.perf_counter()
        if taken >= FEWEST_SAMPLES and now > deadline:
            return rounds
        if taken >= LEAST_SAMPLES and len(rounds) >= FEWEST_ROUNDS and now > least:
            chosen = _together(rounds, clock)
            if half_width(chosen) <= protocol.width * float(np.median(chosen)):
                return rounds
        readings, waited = _read()
        run()  # the workloads have taken the caches
        times: dict[Clock, list[float]] = {name: [] for name in names}
        end = time.perf_counter() + ROUND_S
        while len(times[clock]) < ROUND_SAMPLES or (now := time.perf_counter()) < end:
            for name, value in _time(run, calls).items():
                times[name].append(value)
            if clock == "device":
                times[clock].append(device_ms(calls) or 0.0)
            taken += 1
            if taken >= FEWEST_SAMPLES and time.perf_counter() > deadline:
                break
        rounds.append(Round(times, readings, waited))


def _together(rounds: list[Round], clock: Clock) -> np.ndarray:
    """The samples of all rounds."""
    return np.concatenate([each.times[clock] for each in rounds])


def readings_of(rounds: list[Round]) -> Readings:
    """The medians over rounds."""
    return Readings(*(float(np.median([getattr(r.readings, name) for r in rounds])) for name in ("core", "memory")))


@dataclass(frozen=True)
class Moved:
    """How much slower a network was than it is with the memory as usual.

    Args:
        by: the logarithm.
        error: half its 95 % interval.
        sensitivity: see :func:`sensitivity`.
    """

    by: float = 0.0
    error: float = 0.0
    sensitivity: float | None = None


def _moved(rounds: list[Round], clock: Clock, memory: float, usual: Usually) -> Moved:
    shift = float(np.clip(log(memory / usual.memory), -FARTHEST, FARTHEST))
    slope = sensitivity(rounds, clock)
    if slope is None:
        return Moved(0.0, UNKNOWN * abs(shift))
    return Moved(slope * shift, slope * float(np.hypot(UNSURE * shift, usual.error)), slope)


def sensitivity(rounds: list[Round], clock: Clock) -> float | None:
    """By how many per cent a network slows down where the workload that reads memory takes 1 % longer.

    The slope of the reduced major axis of logarithms: the scatter of the network's times over that of the workload's,
    round by round. That of regression is far too low, since both are read one after the other, and the state of a
    memory changes in between. What does not come from memory is kept out: by how much a round's median is uncertain
    from its own samples is taken off, and interruptions count as three standard deviations at most.

    None where there are too few rounds to tell, or the memory is so steady that they tell nothing;
    :data:`MOST_SENSITIVE` at most.
    """
    if len(rounds) < FEWEST_ROUNDS:
        return None
    memory = _scatter(np.log([each.readings.memory for each in rounds]))
    if memory < STEADY:
        return None
    times = _scatter(np.log([np.median(each.times[clock]) for each in rounds]))
    own = float(np.mean([_error(np.log(each.times[clock])) ** 2 for each in rounds]))
    return min(MOST_SENSITIVE, sqrt(max(0.0, times**2 - own)) / memory)


def _error(samples: np.ndarray) -> float:
    """The standard error of a median of samples, by their median absolute deviation."""
    return 1.2533 * 1.4826 * float(np.median(np.abs(samples - np.median(samples)))) / sqrt(len(samples))


def _scatter(values: np.ndarray) -> float:
    """Standard deviation, Winsorised at three of them by the median absolute deviation."""
    middle = np.median(values)
    reach = 3 * 1.4826 * np.median(np.abs(values - middle))
    return float(np.std(np.clip(values, middle - reach, middle + reach)))


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


WORKLOAD = 1
"""Of the workload that reads memory: counts up when it changes, and readings of another do not compare."""


@lru_cache(maxsize=1)
def _workloads() -> tuple[Run, Run]:
    """Two workloads that never change, on one thread: products of matrices that stay in the nearest cache; and, as
    networks do, products with 10 MB of small matrices, of a few columns, and 14 MB of large ones, of one."""
    near = np.linspace(-1, 1, 48 * 48, dtype=np.float32).reshape(48, 48)
    out = np.empty_like(near)

    def core() -> None:
        for _ in range(20):
            np.matmul(near, near, out=out)

    small, large = np.ones((16, 160, 960), np.float32), np.ones((3584, 1024), np.float32)
    columns, column = np.ones((960, 16), np.float32), np.ones(1024, np.float32)
    products, product = np.empty((160, 16), np.float32), np.empty(3584, np.float32)

    def memory() -> None:
        for matrix in small:
            np.matmul(matrix, columns, out=products)
        np.dot(large, column, out=product)

    return core, memory


def _read() -> tuple[Readings, float]:
    """The workloads' times now, and the core's wall time over its CPU time.

    The first call of each finds what another left in the caches, and is slower by up to 80 %: it is not counted.
    """
    core, memory = _workloads()
    memory()
    far = [_time(memory, 1)["cpu"] for _ in range(2)]
    core()
    near = [_time(core, 1) for _ in range(3)]
    cpu = float(np.median([each["cpu"] for each in near]))
    return Readings(cpu, float(np.mean(far))), float(np.mean([each["wall"] for each in near])) / cpu


@lru_cache(maxsize=1)
def baseline() -> Readings:
    """The workloads' times when this process, or the one that it was forked from, first asked."""
    core, _ = _workloads()
    for _ in range(50):
        core()
    found = [_read()[0] for _ in range(10)]
    return Readings(*(float(np.median([getattr(each, name) for each in found])) for name in ("core", "memory")))


BLOCKS = 8
CROWDED = 0.5
"""By how much slower reading memory is, relative, when neighbours are named: it scatters by a tenth on quiet hosts."""

MOST_SENSITIVE = 1.5
"""Of ten networks (``benchmarks/repeatability.py``), the one that reads most memory in the least time slowed down by
1.3 % for each per cent over an hour."""

UNSURE, UNKNOWN = 0.8, 0.3
"""Half the 95 % interval of :func:`sensitivity`, relative; and what it may be where it is not known: that of networks
of which few calls are made in a second."""

STEADY = 0.005
"""The least scatter of the memory from round to round, relative, from which something is seen."""

FARTHEST = 0.4
"""The logarithm of how much slower than usual the memory may be for networks to follow it as they do nearby."""


PROCESSES = 0.02
"""Half the 95 % interval, relative, of what processes differ by that run the same file: where its memory lies. Six
sessions of one file, measured in turn, differed by standard deviations of 0.8 to 1.4 %."""


def interval(samples: np.ndarray, error: float) -> float:
    """Half the 95 % interval that is stated: of what this process saw, of what processes differ by, and of how far the
    memory was from the usual.

    Args:
        samples: in the order of time.
        error: of :class:`Moved`.
    """
    median = float(np.median(samples))
    return float(np.linalg.norm([half_width(samples), PROCESSES * median, error * median]))


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


def _summary(samples: np.ndarray, moved: Moved) -> dict[str, float]:
    """As measured; and the median where the memory is as fast as usual, with what :func:`interval` gives."""
    p50, p90, p99 = (float(value) for value in np.percentile(samples, [50, 90, 99]))
    usually = float(np.exp(-moved.by))
    return {
        "median": p50,
        "p90": p90,
        "p99": p99,
        "steady": p50 * usually,
        "spread": interval(samples, moved.error) * usually,
    }
