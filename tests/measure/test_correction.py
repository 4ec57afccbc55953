"""What a network would take with the memory as fast as usual: seen from the rounds of one measurement."""

from __future__ import annotations

import numpy as np
import pytest

from netwright.measure import sampling as p
from netwright.measure.correction import FARTHEST, FEWEST_ROUNDS, MOST_SENSITIVE, UNKNOWN, UNSURE, Baseline, sensitivity
from netwright.measure.reference import Readings
from netwright.measure.sampling import Round, SamplingPlan, measure_latency


@pytest.fixture
def core(monkeypatch: pytest.MonkeyPatch) -> None:
    """A core whose workload takes 1 ms."""
    monkeypatch.setattr(p, "first_readings", lambda: Readings(1.0, 1.0))


def seen(rounds: list[Round]) -> float | None:
    return sensitivity([each.times["cpu"] for each in rounds], [each.readings.memory for each in rounds])


def rounds_of(times: np.ndarray, memory: np.ndarray) -> list[Round]:
    """Rounds with the samples of a row, or one sample, each."""
    rows = np.reshape(times, (len(memory), -1)).tolist()
    return [Round({"cpu": row, "wall": row}, Readings(1.0, m)) for row, m in zip(rows, memory, strict=True)]


def simulated(rng: np.random.Generator, slope: float, state: float, rounds: int = 25) -> list[Round]:
    """A network of 10 ms with a sensitivity, where the memory is slower than usual (1 ms) by a state's logarithm.

    The state changes between the reading and the samples; both are noisy; one round in twenty is interrupted.
    """
    here, there = state + rng.normal(0, 0.05, rounds), state + rng.normal(0, 0.05, rounds)
    times = 10 * np.exp(slope * here + rng.normal(0, 0.003, rounds) + 0.2 * (rng.random(rounds) < 0.05))
    return rounds_of(times, np.exp(there))


@pytest.mark.parametrize("slope", [0.1, 0.4, 0.8])
def test_how_much_a_network_waits_for_memory_is_seen_from_its_rounds(slope: float) -> None:
    rng = np.random.default_rng(0)
    found = [seen(simulated(rng, slope, 0.0)) for _ in range(300)]
    assert np.median(found) == pytest.approx(slope, rel=0.25, abs=0.05)
    assert np.mean(np.abs(np.array(found) - slope) <= UNSURE * slope + 0.05) >= 0.9


def test_a_steady_network_does_not_wait_for_memory_and_few_rounds_tell_nothing() -> None:
    rng = np.random.default_rng(0)
    assert seen(rounds_of(np.full(20, 3.0), np.exp(rng.normal(0, 0.1, 20)))) < 1e-6
    assert seen(simulated(rng, 0.8, 0.0, rounds=FEWEST_ROUNDS - 1)) is None
    assert seen(rounds_of(rng.uniform(1, 5, 20), np.ones(20))) is None, "nothing happened to the memory"
    assert seen(rounds_of(np.zeros(20), rng.uniform(1, 1.1, 20))) is None, "the clock stood still"
    assert seen(rounds_of(rng.uniform(1, 5, 20), rng.uniform(1, 1.1, 20))) == MOST_SENSITIVE


def test_noise_of_samples_is_not_memory() -> None:
    """Samples that scatter by 3 %, as where threads wait for one another; the memory's by 5 %."""
    rng = np.random.default_rng(0)
    found = [
        seen(rounds_of(np.exp(rng.normal(0, 0.03, (25, 15))), np.exp(rng.normal(0, 0.05, 25)))) for _ in range(200)
    ]
    assert np.mean(found) < 0.07, "0.2 if the scatter of medians were taken for what it is"


@pytest.mark.parametrize("slope", [0.0, 0.15, 0.7])
@pytest.mark.usefixtures("core")
def test_the_value_is_of_the_usual_memory_and_its_interval_holds(slope: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measurements minutes apart, each in another state of the memory: ±30 % (two standard deviations)."""
    rng = np.random.default_rng(1)
    found = []
    for _ in range(200):
        rounds = simulated(rng, slope, rng.normal(0, 0.15))
        monkeypatch.setattr(p, "_sample", lambda *_, made=rounds: made)
        found.append(measure_latency(lambda: None, SamplingPlan(), "cpu", baseline=Baseline(1.0, 1.0)))
    values, measured = np.array([f.value for f in found]), np.array([f.details["cpu"]["median"] for f in found])
    assert values.std() <= (0.5 * measured.std() if slope > 0.5 else max(measured.std(), 0.15)), "in ms, of 10"
    assert np.mean([abs(f.value - 10) <= f.ci95 for f in found]) >= 0.95
    assert all(f.value == f.details["cpu"]["corrected"] for f in found)


@pytest.mark.usefixtures("core")
def test_a_slow_memory_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    rounds = rounds_of(np.full(10, 2.0), 1.7 + rng.normal(0, 0.05, 10))
    monkeypatch.setattr(p, "_sample", lambda *_: rounds)
    found = measure_latency(lambda: None, SamplingPlan(), "cpu", baseline=Baseline(1.0, 1.0))
    assert found.details["memory_drift"] == pytest.approx(0.7, abs=0.05)
    assert "memory was slower by 7" in found.details["warning"] and "than usual" in found.details["warning"]
    assert found.value == pytest.approx(2.0), "it does not move this network"
    assert found.details["reference"]["core"] == 1.0 and found.details["reference"]["memory"] == pytest.approx(
        1.7, abs=0.05
    )


@pytest.mark.parametrize("why", ["no baseline is known", "the core was slower", "too few rounds"])
def test_nothing_is_moved_where(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    rounds = simulated(rng, 0.8, 0.3, rounds=5 if why == "too few rounds" else 25)
    monkeypatch.setattr(p, "_sample", lambda *_: rounds)
    monkeypatch.setattr(p, "first_readings", lambda: Readings(1.0, 1.0))
    baseline = None if why == "no baseline is known" else Baseline(0.8 if why == "the core was slower" else 1.0, 1.0)
    found = measure_latency(lambda: None, SamplingPlan(), "cpu", baseline=baseline)
    assert found.value == found.details["cpu"]["median"] and found.kind == "measured"
    assert ("warning" in found.details) == (why == "the core was slower")
    if why == "too few rounds":
        assert found.ci95 >= 0.2 * UNKNOWN * found.value, "it may have been"


@pytest.mark.usefixtures("core")
def test_far_from_the_usual_no_more_is_moved_than_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    rounds = simulated(rng, 1.0, 3.0)  # twenty times as slow
    monkeypatch.setattr(p, "_sample", lambda *_: rounds)
    found = measure_latency(lambda: None, SamplingPlan(), "cpu", baseline=Baseline(1.0, 1.0, error=0.1))
    assert found.value >= found.details["cpu"]["median"] * np.exp(-FARTHEST * MOST_SENSITIVE)
    assert found.ci95 > 0.3 * found.value
    assert found.as_measured == f"{found.details['cpu']['median']:.3g} ms as measured"


@pytest.mark.usefixtures("core")
def test_a_clock_of_the_device_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    rounds = [Round({**r.times, "device": r.times["cpu"]}, r.readings) for r in simulated(rng, 0.8, 0.3)]
    monkeypatch.setattr(p, "_sample", lambda *_: rounds)
    found = measure_latency(lambda: None, SamplingPlan(), "cpu", lambda calls: 1.0, Baseline(1.0, 1.0))
    assert found.details["clock"] == "device" and found.value == found.details["device"]["median"]
