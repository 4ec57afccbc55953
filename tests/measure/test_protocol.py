"""How long something takes: known costs, noise, drift, budgets."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from netwright.measure import protocol as p
from netwright.measure.clocks import Clock
from netwright.measure.protocol import LEAST_SAMPLES, Protocol, Round, half_width, measure_latency
from netwright.measure.reference import Readings
from netwright.measure.steady import FEWEST_ROUNDS


def busy(ms: float) -> Callable[[], None]:
    """A function that takes so much of this thread's CPU time."""
    ns = int(ms * 1e6)

    def run() -> None:
        begin = time.thread_time_ns()
        while time.thread_time_ns() - begin < ns:
            pass

    return run


@pytest.mark.parametrize("ms", [0.02, 0.5, 3.0])
def test_a_known_cost_is_found(ms: float) -> None:
    found = measure_latency(busy(ms), Protocol(budget_s=0.4), "cpu")
    assert found.unit == "ms"
    assert ms <= found.how["cpu"]["median"] <= ms * 1.15 + 0.003
    assert found.value == pytest.approx(found.how["cpu"]["median"], rel=0.05), "it does not wait for memory"
    assert 0 <= found.spread <= 0.1 * found.value
    assert found.n >= LEAST_SAMPLES
    assert found.how["cpu"]["steady"] == found.value
    assert found.how["cpu"]["median"] <= found.how["wall"]["median"] * 1.01
    assert found.how["cpu"]["median"] <= found.how["cpu"]["p90"] <= found.how["cpu"]["p99"]
    assert found.how["relative"] > 0 and isinstance(found.how["drift"], float)


def test_one_thread_counts_cpu_time_and_several_wall_time() -> None:
    def waiting() -> None:
        busy(0.2)()
        time.sleep(0.002)

    one = measure_latency(waiting, Protocol(budget_s=0.3), "cpu")
    many = measure_latency(waiting, Protocol(budget_s=0.3), "wall")
    assert one.value == pytest.approx(0.2, abs=0.15)
    assert many.value >= 2.1 and many.value == many.how["wall"]["steady"]
    assert many.spread == many.how["wall"]["spread"]


def test_with_several_threads_it_is_the_wall_time_that_must_be_known_well() -> None:
    rng = np.random.default_rng(0)

    def uneven() -> None:
        busy(0.3)()  # steady CPU time, scattered wall time
        time.sleep(float(rng.choice([0.0002, 0.003])))

    found = measure_latency(uneven, Protocol(width=0.02, budget_s=0.5), "wall")
    assert found.n > LEAST_SAMPLES or found.spread <= 0.02 * found.value, "not narrow, and not all of the budget spent"


def test_outliers_do_not_move_the_value() -> None:
    calls = 0

    def sometimes_slow() -> None:
        nonlocal calls
        calls += 1
        busy(0.5 if calls % 7 else 8.0)()

    found = measure_latency(sometimes_slow, Protocol(budget_s=0.5), "cpu")
    assert found.value == pytest.approx(0.5, rel=0.1)
    assert found.how["cpu"]["p90"] > 5


def test_the_budget_is_kept() -> None:
    scatter = np.random.default_rng(1)
    noisy = measure_timed(lambda: busy(float(scatter.uniform(0.2, 2)))(), Protocol(width=1e-9, budget_s=0.3, repeats=0))
    assert noisy[1] < 0.3 + 0.6 and noisy[0].n > LEAST_SAMPLES


def test_a_slow_network_does_not_take_many_times_the_budget() -> None:
    found, seconds = measure_timed(lambda: time.sleep(0.05), Protocol(budget_s=0.4, repeats=0), "wall")
    assert found.value == pytest.approx(50, rel=0.1) and found.n >= 3
    assert seconds < 0.4 + 1.0, f"{seconds:.1f} s for a budget of 0.4 s"


def measure_timed(run: Callable[[], None], protocol: Protocol, clock: Clock = "cpu") -> tuple[p.Measurement, float]:
    begin = time.perf_counter()
    return measure_latency(run, protocol, clock), time.perf_counter() - begin


def test_narrow_enough_ends_early() -> None:
    found, seconds = measure_timed(busy(0.5), Protocol(width=0.5, budget_s=20, least_s=0))
    assert LEAST_SAMPLES <= found.n <= 100 * FEWEST_ROUNDS and seconds < 2


@pytest.fixture
def timings(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[float]], list[int]]:
    """The reference's speed as a list, one entry for each time that samples are taken; its baseline is 1 ms."""

    def fake(references: list[float]) -> list[int]:
        taken: list[int] = []

        def sample(*args: object) -> list[Round]:
            taken.append(1)
            now = references[len(taken) - 1]
            return [Round({"cpu": [2.0 * now] * 50, "wall": [3.0 * now] * 50}, Readings(now, 4.0))]

        monkeypatch.setattr(p, "baseline", lambda: Readings(1.0, 4.0))
        monkeypatch.setattr(p, "_sample", sample)
        return taken

    return fake


@pytest.mark.parametrize(
    "references, repeated, warned",
    [
        ([1.0], 0, False),
        ([1.09], 0, False),
        ([1.3, 1.02], 1, False),
        ([0.7, 1.4, 1.0], 2, False),
        ([2.0, 1.5, 1.5], 2, True),
        ([0.5, 0.5, 0.5], 2, True),
    ],
)
def test_drift_is_measured_again_and_then_told(
    timings: Callable[[list[float]], list[int]], references: list[float], repeated: int, warned: bool
) -> None:
    taken = timings(references)
    found = measure_latency(lambda: None, Protocol(), "cpu")
    assert len(taken) == repeated + 1
    assert found.how.get("repeated", 0) == repeated
    assert ("warning" in found.how) == warned
    assert found.value == pytest.approx(2.0 * references[repeated])
    assert found.how["relative"] == pytest.approx(2.0)
    assert found.how["drift"] == pytest.approx(references[repeated] - 1)


@pytest.mark.parametrize("n", [25, 50, 200])
@pytest.mark.parametrize("shape", ["normal", "lognormal", "uniform", "two speeds"])
def test_the_spread_covers_the_median(n: int, shape: str) -> None:
    rng = np.random.default_rng(n)
    draw, median = {
        "normal": (lambda: rng.normal(10, 2, n), 10.0),
        "lognormal": (lambda: rng.lognormal(0, 0.5, n), 1.0),
        "uniform": (lambda: rng.uniform(0, 1, n), 0.5),
        "two speeds": (lambda: rng.normal(1, 0.02, n) + (rng.random(n) < 0.1) * 2, None),
    }[shape]
    if median is None:
        big = rng.normal(1, 0.02, 400_000) + (rng.random(400_000) < 0.1) * 2
        median = float(np.median(big))
    covered = 0
    for _ in range(1500):
        samples = draw()
        covered += abs(np.median(samples) - median) <= half_width(samples)
    assert covered / 1500 >= 0.92


def test_half_width_by_hand() -> None:
    assert half_width(np.array([5.0])) == 0
    assert half_width(np.array([1.0, 3.0])) == 1
    assert half_width(np.full(30, 2.5)) == 0
    samples = np.arange(101.0)
    np.random.default_rng(0).shuffle(samples)
    assert p.by_order(samples) == pytest.approx(10, abs=0.6)  # ranks 50.5 -+ 9.85
    assert samples[0] != 0, "the samples are not sorted in place"


def test_the_spread_covers_the_median_of_samples_that_are_like_their_neighbours() -> None:
    """Samples that wander, as under a neighbour that comes and goes: order statistics alone are far too sure."""
    rng = np.random.default_rng(0)
    covered = {"order": 0, "both": 0}
    for _ in range(300):
        wander = np.zeros(600)
        for i, step in enumerate(rng.normal(0, 0.05, 600)[1:], 1):
            wander[i] = 0.95 * wander[i - 1] + step
        samples = 10 + wander + rng.normal(0, 0.05, 600)
        off = abs(np.median(samples) - 10)
        covered["both"] += off <= half_width(samples)
        covered["order"] += off <= p.by_order(samples)
    assert covered["both"] >= 0.85 * 300 and covered["order"] <= 0.6 * 300
