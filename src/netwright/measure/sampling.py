"""How a run time is measured: warm-up, then rounds of samples between reference workloads until the interval is narrow.

A latency is a distribution. The value is the median over samples; its spread is half the 95 % interval of the
median in the long run.

The machines that measure are rarely alone. Other processes that take the core do not count in CPU time; for those that
use the memory, the value is corrected to what it is with the memory as fast as usual
(:mod:`netwright.measure.correction`), and the uncorrected value is reported alongside.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil, sqrt
from typing import Any

import numpy as np

from ..core.metric import Measurement
from .clocks import Clock, Run, timed
from .correction import FEWEST_ROUNDS, Baseline, Correction, estimate_correction
from .reference import Readings, first_readings, read


@dataclass(frozen=True)
class SamplingPlan:
    """When to stop measuring.

    Args:
        precision: half the 95 % interval of the median, relative to the median, at which sampling stops.
        max_seconds: the most seconds of sampling, warm-up included; the precision that was reached is recorded.
        min_seconds: the fewest, unless :attr:`max_seconds` is less: in a shorter time a machine's state hardly changes.
        sample_s: calls are grouped so that a sample takes at least this long; far less than a scheduler's quantum,
            so that most samples are not interrupted.
        drift: how far the reference may move from its baseline before the measurement is taken again.
        repeats: how often it is taken again at most.
    """

    precision: float = 0.02
    max_seconds: float = 1.0
    min_seconds: float = 0.3
    sample_s: float = 0.0004
    drift: float = 0.10
    repeats: int = 2


LEAST_SAMPLES = 25
FEWEST_SAMPLES = 7
"""Where the budget is spent before there are :data:`LEAST_SAMPLES`; fewer have no 95 % interval."""

ROUND_S, ROUND_SAMPLES = 0.02, 2
"""The least seconds, and samples, between two readings of the reference workloads, which take 6 ms on a fast core."""


TURN_S = 0.01
"""The least seconds that one of two networks is run before it is the other's turn: one that reads 14 MB of weights
takes back the last cache in some calls only."""


@dataclass(frozen=True)
class Round:
    """Some samples in a row: times per call in milliseconds, by clock; and, just before them, the reference workloads,
    and the wall time over the CPU time of the first of them: more than 1 where it waited for the core."""

    times: Mapping[Clock, list[float]]
    readings: Readings
    waited: float = 1.0


def measure_latency(
    run: Run,
    plan: SamplingPlan,
    clock: Clock,
    device_ms: Callable[[int], float | None] = lambda calls: None,
    baseline: Baseline | None = None,
) -> Measurement:
    """The time of one call, in ms.

    With one thread on the CPU the value should be the process's CPU time: on an idle machine it equals the wall time,
    and neighbours that take the core away do not count. With several threads, and elsewhere, it is the wall time; on
    a device with a clock of its own that clock's. All are in ``details``: ``median`` and percentiles as measured,
    ``corrected`` with the memory as fast as usual, and the time relative to the reference workload.

    Args:
        run: one inference, waited for.
        plan: when to stop.
        clock: the clock that the value is of, where the device has none of its own.
        device_ms: :meth:`netwright.measure.runtimes.base.Session.device_ms`.
        baseline: how fast this machine usually is; None, where that is not known or does not matter: the value is the
            median as measured, and drift is that since this process began.
    """
    begin = time.perf_counter()
    reference = baseline or first_readings()
    clock = "device" if device_ms(1) is not None else clock
    rounds = _sample(run, plan, clock, device_ms)
    repeated = 0
    while abs(_readings(rounds).core / reference.core - 1) > plan.drift and repeated < plan.repeats:
        if time.perf_counter() - begin > 3 * plan.max_seconds:  # one inference takes longer than the budget
            break
        rounds = _sample(run, plan, clock, device_ms)
        repeated += 1
    readings = _readings(rounds)
    drift, crowded = readings.core / reference.core - 1, readings.memory / reference.memory - 1
    correction = Correction()
    # A device's own clock does not wait for this machine's memory; where the core is slower, both workloads are.
    if baseline is not None and clock != "device" and abs(drift) <= plan.drift:
        correction = estimate_correction(
            [each.times[clock] for each in rounds], [each.readings.memory for each in rounds], baseline
        )
    found = {str(name): _summary(_together(rounds, name), correction) for name in rounds[0].times}
    how: dict[str, Any] = {
        **found,
        "clock": clock,
        "relative": found[clock]["median"] / readings.core,
        "drift": round(drift, 4),
        "memory_drift": round(crowded, 4),
        "reference": vars(readings),
    }
    if correction.sensitivity is not None:
        how["sensitivity"] = round(correction.sensitivity, 3)
    if repeated:
        how["repeated"] = repeated
    if warning := _warning(rounds, drift, crowded, plan):
        how["warning"] = warning
    n = len(_together(rounds, clock))
    value, half = found[clock]["corrected"], found[clock]["spread"]
    if correction.by:
        return Measurement(value, "ms", half, n, "corrected", how, uncorrected=found[clock]["median"])
    return Measurement(value, "ms", half, n, details=how)


def _warning(rounds: list[Round], drift: float, crowded: float, plan: SamplingPlan) -> str | None:
    """What disturbed a measurement, where something did.

    Args:
        rounds: the rounds of the measurement.
        drift: by how much slower the core was than the reference, relative.
        crowded: the same of the memory.
        plan: how far the core may drift.
    """
    if abs(drift) > plan.drift:
        waits = np.mean([each.waited for each in rounds]) > 1.2
        why = "other processes use the cores" if waits else "its clock changed (heat, power saving)"
        faster = "faster" if drift < 0 else "slower"
        return f"the core was {faster} by {abs(drift):.0%} than usual while this was measured: {why}"
    if crowded > CROWDED:
        return f"the memory was slower by {crowded:.0%} than usual while this was measured: other processes use it"
    return None


def throughput(latency: Measurement, batch: int) -> Measurement:
    """Inputs a second at a batch size, from the latency of the batch."""
    value = batch * 1e3 / latency.value
    return Measurement(value, "/s", ci95=value * latency.ci95 / latency.value, n=latency.n, details={"batch": batch})


def ratios(first: Run, second: Run, plan: SamplingPlan, clock: Clock) -> list[float]:
    """How many times as long as the first the second takes, pair by pair: A B, B A, A B, ... for the budget's time."""
    runs = (first, second)
    calls = [_warm_up(run, TURN_S, clock) for run in runs]
    found: list[float] = []
    deadline = time.perf_counter() + plan.max_seconds
    while time.perf_counter() < deadline or len(found) < FEWEST_SAMPLES:
        took = {}
        for at in (0, 1) if len(found) % 2 else (1, 0):
            for _ in range(min(3, calls[at])):
                runs[at]()  # the other has taken the caches
            took[at] = timed(runs[at], calls[at])[clock]
        found.append(took[1] / took[0])
    return found


def least_ms(runs: list[Run], clock: Clock, rounds: int = 15) -> list[float]:
    """The least time of one call of each, in ms, of samples in turn: what hardly depends on the neighbours."""
    calls = [_warm_up(run, 0.001, clock, 0.05) for run in runs]
    found = [[timed(run, n)[clock] for run, n in zip(runs, calls, strict=True)] for _ in range(rounds)]
    return [min(times) for times in zip(*found, strict=True)]


def _sample(
    run: Run, plan: SamplingPlan, clock: Clock, device_ms: Callable[[int], float | None] = lambda calls: None
) -> list[Round]:
    """Rounds of samples until the times by one clock are known well enough."""
    begin = time.perf_counter()
    calls = _warm_up(run, plan.sample_s, "wall" if clock == "device" else clock)
    names: tuple[Clock, ...] = ("cpu", "wall", "device") if clock == "device" else ("cpu", "wall")
    deadline, least = begin + plan.max_seconds, begin + min(plan.min_seconds, plan.max_seconds)
    rounds: list[Round] = []
    taken = 0
    while True:
        now = time.perf_counter()
        if taken >= FEWEST_SAMPLES and now > deadline:
            return rounds
        if taken >= LEAST_SAMPLES and len(rounds) >= FEWEST_ROUNDS and now > least:
            chosen = _together(rounds, clock)
            if half_width(chosen) <= plan.precision * float(np.median(chosen)):
                return rounds
        readings, waited = read()
        run()  # the workloads have taken the caches
        times: dict[Clock, list[float]] = {name: [] for name in names}
        end = time.perf_counter() + ROUND_S
        while len(times[clock]) < ROUND_SAMPLES or time.perf_counter() < end:
            for name, value in timed(run, calls).items():
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


def _readings(rounds: list[Round]) -> Readings:
    """The medians over rounds."""
    return Readings(*(float(np.median([getattr(r.readings, name) for r in rounds])) for name in ("core", "memory")))


def _warm_up(run: Run, sample_s: float, clock: Clock, most_s: float = 0.3) -> int:
    """Run until two windows in a row agree within 5 %; returns the number of calls that make a sample."""
    begin = time.perf_counter()
    run()
    once = max(timed(run, 1)["wall"] / 1e3, 1e-7)
    calls = max(1, ceil(sample_s / once))
    before = None
    while time.perf_counter() - begin < most_s:
        window = float(np.median([timed(run, calls)[clock] for _ in range(5)]))
        if before is not None and abs(window / before - 1) < 0.05:
            break
        before = window
    return max(1, ceil(sample_s / max(timed(run, calls)[clock] / 1e3, 1e-7)))


BLOCKS = 8
CROWDED = 0.5
"""By how much slower reading memory is, relative, when the warning names other processes: it scatters by a tenth on
quiet hosts."""

PROCESSES = 0.02
"""Half the 95 % interval, relative, of what processes differ by that run the same file: where its memory lies. Six
sessions of one file, measured in turn, differed by standard deviations of 0.8 to 1.4 %."""


def interval(samples: np.ndarray, error: float) -> float:
    """Half the 95 % interval that is stated: of what this process saw, of what processes differ by, and of how far the
    memory was from the usual.

    Args:
        samples: the samples, in the order of time.
        error: that of :class:`netwright.measure.correction.Correction`.
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


def _summary(samples: np.ndarray, correction: Correction) -> dict[str, float]:
    """As measured; and the median where the memory is as fast as usual, with what :func:`interval` gives."""
    p50, p90, p99 = (float(value) for value in np.percentile(samples, [50, 90, 99]))
    usually = float(np.exp(-correction.by))
    return {
        "median": p50,
        "p90": p90,
        "p99": p99,
        "corrected": p50 * usually,
        "spread": interval(samples, correction.error) * usually,
    }
