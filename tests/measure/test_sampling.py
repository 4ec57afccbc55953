"""How long something takes: known costs, noise, drift, budgets."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from netwright.measure import clocks
from netwright.measure import sampling as p
from netwright.measure.correction import FEWEST_ROUNDS
from netwright.measure.reference import Readings
from netwright.measure.sampling import LEAST_SAMPLES, Round, SamplingPlan, half_width, measure_latency


class Machine:
    """A machine whose clocks pass when told to: all of it is the reader's alone.

    Reading its clocks takes time too. The reference workloads take 1 and 4 ms.
    """

    def __init__(self) -> None:
        self.wall_ns = self.cpu_ns = 10**9

    def compute(self, ms: float) -> None:
        """What takes the core takes both kinds of time."""
        self.cpu_ns += int(ms * 1e6)
        self.wall_ns += int(ms * 1e6)

    def wait(self, ms: float) -> None:
        self.wall_ns += int(ms * 1e6)

    def busy(self, ms: float) -> Callable[[], None]:
        return lambda: self.compute(ms)

    def perf_counter_ns(self) -> int:
        self.compute(1e-4)
        return self.wall_ns

    def process_time_ns(self) -> int:
        self.compute(1e-4)
        return self.cpu_ns

    def perf_counter(self) -> float:
        return self.perf_counter_ns() / 1e9

    def read(self) -> tuple[Readings, float]:
        self.compute(1.0 + 2 * 4.0)
        return Readings(1.0, 4.0), 1.0

    def seconds(self, measure: Callable[[], p.Measurement]) -> tuple[p.Measurement, float]:
        """What is found, and how long that took."""
        begin = self.wall_ns
        return measure(), (self.wall_ns - begin) / 1e9


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """In the place of the one that the tests run on."""
    machine = Machine()
    monkeypatch.setattr(clocks, "time", machine)
    monkeypatch.setattr(p, "time", machine)
    monkeypatch.setattr(p, "read", machine.read)
    monkeypatch.setattr(p, "first_readings", lambda: Readings(1.0, 4.0))
    return machine


@pytest.mark.parametrize("ms", [0.02, 0.5, 3.0])
def test_a_known_cost_is_found(machine: Machine, ms: float) -> None:
    found = measure_latency(machine.busy(ms), SamplingPlan(max_seconds=0.4), "cpu")
    assert found.unit == "ms"
    assert found.details["cpu"]["median"] == pytest.approx(ms, rel=0.01)
    assert found.value == pytest.approx(found.details["cpu"]["median"], rel=1e-6), "it does not wait for memory"
    assert 0 <= found.ci95 <= 0.1 * found.value
    assert found.n >= LEAST_SAMPLES
    assert found.details["cpu"]["corrected"] == found.value
    assert found.details["cpu"]["median"] <= found.details["wall"]["median"] * 1.01
    assert found.details["cpu"]["median"] <= found.details["cpu"]["p90"] <= found.details["cpu"]["p99"]
    assert found.details["relative"] == pytest.approx(ms, rel=0.01) and found.details["drift"] == 0


def test_the_clocks_are_those_of_this_process() -> None:
    """On the machine at hand, however busy: computing counts in both, waiting in the wall's alone."""
    import time

    def compute() -> None:
        until = time.thread_time_ns() + 5_000_000
        while time.thread_time_ns() < until:
            pass

    computed, waited = clocks.timed(compute, 2), clocks.timed(lambda: time.sleep(0.05), 1)
    assert computed["cpu"] >= 5 and computed["wall"] >= 5
    assert waited["wall"] >= 50


def test_neighbours_that_take_the_core_do_not_count(machine: Machine) -> None:
    """Half of the calls are interrupted for a scheduler's quantum: that is wall time, and no CPU time."""
    rng = np.random.default_rng(0)

    def interrupted() -> None:
        machine.compute(1.0)
        machine.wait(4.0 * float(rng.random() < 0.5))

    found = measure_latency(interrupted, SamplingPlan(max_seconds=0.4), "cpu")
    assert found.value == pytest.approx(1.0, rel=0.01) and found.details["wall"]["p90"] > 4


def test_one_thread_counts_cpu_time_and_several_wall_time(machine: Machine) -> None:
    def waiting() -> None:
        machine.compute(0.2)
        machine.wait(2.0)

    one = measure_latency(waiting, SamplingPlan(max_seconds=0.3), "cpu")
    many = measure_latency(waiting, SamplingPlan(max_seconds=0.3), "wall")
    assert one.value == pytest.approx(0.2, rel=0.01)
    assert many.value == pytest.approx(2.2, rel=0.01) and many.value == many.details["wall"]["corrected"]
    assert many.ci95 == many.details["wall"]["spread"]


def test_with_several_threads_it_is_the_wall_time_that_must_be_known_well(machine: Machine) -> None:
    rng = np.random.default_rng(0)

    def uneven() -> None:
        machine.compute(0.3)  # steady CPU time, scattered wall time
        machine.wait(float(rng.choice([0.2, 3.0])))

    by_wall = measure_latency(uneven, SamplingPlan(precision=0.02, max_seconds=0.5), "wall")
    by_cpu = measure_latency(uneven, SamplingPlan(precision=0.02, max_seconds=0.5), "cpu")
    assert by_wall.n > by_cpu.n, "not narrow, and not all of the budget spent"


def test_outliers_do_not_move_the_value(machine: Machine) -> None:
    calls = 0

    def sometimes_slow() -> None:
        nonlocal calls
        calls += 1
        machine.compute(0.5 if calls % 7 else 8.0)

    found = measure_latency(sometimes_slow, SamplingPlan(max_seconds=0.5), "cpu")
    assert found.value == pytest.approx(0.5, rel=0.01)
    assert found.details["cpu"]["p90"] > 5


def test_the_budget_is_kept(machine: Machine) -> None:
    scatter = np.random.default_rng(1)
    noisy, seconds = machine.seconds(
        lambda: measure_latency(
            lambda: machine.compute(float(scatter.uniform(0.2, 2))),
            SamplingPlan(precision=1e-9, max_seconds=0.3, repeats=0),
            "cpu",
        )
    )
    assert 0.3 <= seconds < 0.3 + p.ROUND_S + 0.02 and noisy.n > LEAST_SAMPLES


def test_a_slow_network_does_not_take_many_times_the_budget(machine: Machine) -> None:
    found, seconds = machine.seconds(
        lambda: measure_latency(lambda: machine.wait(50), SamplingPlan(max_seconds=0.4, repeats=0), "wall")
    )
    assert found.value == pytest.approx(50, rel=0.01) and found.n >= 3
    assert seconds < 0.4 + 1.0, f"{seconds:.1f} s for a budget of 0.4 s"


def test_narrow_enough_ends_early(machine: Machine) -> None:
    found, seconds = machine.seconds(
        lambda: measure_latency(machine.busy(0.5), SamplingPlan(precision=0.5, max_seconds=20, min_seconds=0), "cpu")
    )
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

        monkeypatch.setattr(p, "first_readings", lambda: Readings(1.0, 4.0))
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
    found = measure_latency(lambda: None, SamplingPlan(), "cpu")
    assert len(taken) == repeated + 1
    assert found.details.get("repeated", 0) == repeated
    assert ("warning" in found.details) == warned
    assert found.value == pytest.approx(2.0 * references[repeated])
    assert found.details["relative"] == pytest.approx(2.0)
    assert found.details["drift"] == pytest.approx(references[repeated] - 1)


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
