"""Fronts against their definition; records and measurements through JSON."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse.csgraph import minimum_spanning_tree

from netwright.core.candidate import Candidate
from netwright.core.errors import MeasureError, NetwrightError, SpaceError
from netwright.core.front import Front, front, nondominated
from netwright.core.limits import Limit
from netwright.core.metric import Measurement, Metric
from netwright.core.record import Record
from netwright.core.space import Choice, Space


@st.composite
def point_sets(draw: st.DrawFn) -> np.ndarray:
    """Few distinct values: ties and duplicates abound."""
    objectives = draw(st.integers(1, 4))
    edges = st.sampled_from([-0.0, 0.0, 1e-300, -5.5, 1e300])
    value = draw(st.sampled_from([st.integers(0, 3), edges, st.floats(-9, 9)]))
    rows = draw(st.lists(st.tuples(*[value] * objectives), max_size=25))
    return np.array(rows, dtype=np.float64).reshape(len(rows), objectives)


def dominates(a: Any, b: Any) -> bool:
    return all(x <= y for x, y in zip(a, b, strict=True)) and any(x < y for x, y in zip(a, b, strict=True))


@given(point_sets())
def test_nondominated_is_its_definition(points: np.ndarray) -> None:
    expected = [not any(dominates(q, p) for q in points) for p in points]
    assert nondominated(points).tolist() == expected


@given(point_sets(), st.lists(st.sampled_from(["max", "min"]), min_size=4, max_size=4), st.randoms())
def test_front_is_ordered_complete_and_independent_of_the_order_of_records(
    points: np.ndarray, directions: list[Any], random: Any
) -> None:
    metrics = tuple(Metric(f"m{i}", direction=directions[i]) for i in range(points.shape[1]))
    names = [m.name for m in metrics]
    records = [record(i, dict(zip(names, row, strict=True)), metrics) for i, row in enumerate(points)]
    signs = np.array([-1.0 if m.direction == "max" else 1.0 for m in metrics])
    wanted = {i for i, p in enumerate(points) if not any(dominates(q * signs, p * signs) for q in points)}
    found = front(records)
    assert {r.candidate["i"] for r in found} == wanted, "equal points all stay"
    assert len(found) == len(wanted)
    rows = [tuple(signs * [r.values[m.name] for m in metrics]) for r in found]
    assert rows == sorted(rows), "best in the first objective first, ties by the next"
    random.shuffle(records)
    shuffled = front(records, metrics) if records else found
    assert sorted(rows) == [tuple(signs * [r.values[m.name] for m in metrics]) for r in shuffled]
    for m in metrics if len(found) else ():
        best = (max if m.direction == "max" else min)(r.values[m.name] for r in records)
        assert found.pick(m.name).values[m.name] == best
    if len(found):
        assert found.knee() in list(found)


def record(i: int, values: dict[str, float], objectives: tuple[Metric, ...] = (), **more: Any) -> Record:
    measured = {k: Measurement(float(v)) for k, v in values.items()}
    return Record(Candidate({"i": i}), measured, objectives=objectives, **more)


PAIR = (Metric("top1", "%", "max"), Metric("latency", "ms"))


def test_only_feasible_records_with_every_objective_count() -> None:
    good = record(0, {"top1": 70, "latency": 5}, PAIR)
    records = [
        good,
        record(1, {"top1": 99, "latency": 1}, PAIR, status="infeasible", reason="too large"),
        record(2, {"top1": 99, "latency": 1}, PAIR, status="failed", reason="crashed"),
        record(3, {"top1": 99}, PAIR),
    ]
    assert list(front(records)) == [good]
    assert list(front(iter(records))) == [good]
    assert [r.candidate["i"] for r in front(records, {"top1": "max"})] == [3]
    assert [r.candidate["i"] for r in front(records[:1] + records[3:], {"top1": "min"})] == [0]


def test_equal_points_both_stay() -> None:
    twins = [record(i, {"top1": 70, "latency": 5}, PAIR) for i in range(2)]
    assert list(front(twins)) == twins


def test_pick_and_knee() -> None:
    values = [(60, 1.0), (70, 2.0), (75, 10.0)]
    found = front([record(i, {"top1": a, "latency": b}, PAIR) for i, (a, b) in enumerate(values)])
    assert [r.values["top1"] for r in found] == [75, 70, 60]
    assert found.pick("top1").values["latency"] == 10
    assert found.pick("latency").values["top1"] == 60
    assert found.knee().values["top1"] == 70
    assert found[0].values["top1"] == 75
    assert len(found[:2]) == 2
    with pytest.raises(NetwrightError, match="'latncy' is no objective; did you mean 'latency'"):
        found.pick("latncy")


def test_knee_ignores_scale_and_constant_objectives() -> None:
    values = [(0.60, 1e9), (0.70, 2e9), (0.75, 10e9)]
    metrics = (Metric("a", direction="max"), Metric("b"), Metric("c"))
    found = front([record(i, {"a": a, "b": b, "c": 7}, metrics) for i, (a, b) in enumerate(values)])
    assert found.knee().candidate["i"] == 1


def test_an_empty_front_says_so() -> None:
    assert len(front([])) == 0
    failed = front([record(0, {}, PAIR, status="failed")])
    for ask in (failed.knee, lambda: failed.pick("top1"), Front([], PAIR).knee):
        with pytest.raises(NetwrightError, match="empty"):
            ask()


def test_records_must_know_what_is_asked_for() -> None:
    bare = [record(0, {"top1": 1.0})]
    with pytest.raises(NetwrightError, match="no objectives"):
        front(bare)
    with pytest.raises(NetwrightError, match="different objectives"):
        front([*bare, record(1, {"top1": 1.0}, PAIR)])
    with pytest.raises(NetwrightError, match="different objectives"):
        front([record(0, {"top1": 1.0}, PAIR[:1]), record(1, {"top1": 1.0}, PAIR)])
    with pytest.raises(SpaceError, match="'max' or 'min'"):
        front(bare, {"top1": "maximum"})  # type: ignore[dict-item]


def test_no_objectives_at_all_is_a_mistake_that_is_explained() -> None:
    with pytest.raises(NetwrightError):
        front([record(0, {"top1": 1.0})], {})


# -- records ---------------------------------------------------------------------------------------------------

finite = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | finite | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
OWN = {"value", "unit", "spread", "n", "kind", "best_case", "uncorrected"}
extra = st.dictionaries(st.text().filter(lambda k: k not in OWN), json_values, max_size=3)
units = st.sampled_from(["", "ms", "B", "%"])
kinds = st.one_of(
    st.tuples(st.sampled_from(["exact", "measured"]), extra),
    st.tuples(st.sampled_from(["partial", "predicted"]), extra, finite),
    st.tuples(st.just("corrected"), extra, st.none(), finite),
)
measurements = st.builds(
    lambda value, unit, ci95, n, rest: Measurement(value, unit, ci95, n, *rest),
    finite, units, finite.map(abs), st.integers(1, 10**6), kinds,
)  # fmt: skip
records = st.builds(
    Record,
    st.builds(Candidate, st.dictionaries(st.text(), st.integers() | st.text() | st.none() | st.booleans(), max_size=4)),
    st.dictionaries(st.text(), measurements, max_size=3),
    st.sampled_from(["ok", "infeasible", "failed"]),
    st.text(),
    st.just(PAIR),
    st.dictionaries(st.text(), json_values, max_size=3),
)


@given(measurements)
def test_measurements_round_trip(measurement: Measurement) -> None:
    assert Measurement.from_json(json.loads(json.dumps(measurement.to_json(), allow_nan=False))) == measurement


@given(records)
def test_records_round_trip(one: Record) -> None:
    data = json.loads(json.dumps(one.to_json(), allow_nan=False))
    assert Record.from_json(data, PAIR) == one
    assert data["id"] == one.id == Record.from_json(data).id
    assert set(data) >= {"id", "candidate", "status", "measurements"}
    for measured in data["measurements"].values():
        assert set(measured) >= {"value", "unit", "spread", "n", "kind"}


def test_what_is_said_of_how_does_not_overwrite_the_value() -> None:
    try:
        data = Measurement(5.0, "ms", details={"value": 9.0, "n": 3}).to_json()
    except NetwrightError:
        return
    assert (data["value"], data["n"]) == (5.0, 1)


def test_a_record_read_back_fits_its_space() -> None:
    space = Space([Choice("shape", ((1, 2), (3, (4, 5))))])
    for candidate in space.enumerate():
        data = json.loads(json.dumps(Record(candidate).to_json()))
        for back in (Record.from_json(data), Record.from_json(data, candidate=space.candidate)):
            assert back.candidate == candidate
            assert hash(back.candidate) == hash(candidate)
            assert space.indices(back.candidate).tolist() == space.indices(candidate).tolist()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, "3", [1.0]])
def test_a_measurement_is_a_finite_number(value: float) -> None:
    with pytest.raises(MeasureError, match="finite"):
        Measurement(value)


def test_judged() -> None:
    limits = [Limit("latency", "<=", 5.0, "ms"), Limit("macs", "<=", 1e6)]
    slow = Record(Candidate({}), {"latency": Measurement(7.0, "ms")}, provenance={"seed": 1})
    judged = slow.judged(limits)
    assert (judged.status, judged.reason) == ("infeasible", "latency is 7 ms, the limit is latency <= 5 ms")
    assert (judged.candidate, judged.measurements, judged.provenance) == (
        slow.candidate,
        slow.measurements,
        slow.provenance,
    )
    assert slow.status == "ok"
    again = judged.judged([Limit("latency", "<=", 8.0, "ms")])
    assert (again.status, again.reason) == ("ok", "")
    failed = Record(Candidate({}), {"latency": Measurement(7.0, "ms")}, "failed", "crashed")
    assert failed.judged(limits) == failed
    assert slow.judged([]).status == "ok"


@given(arrays(np.float64, st.tuples(st.integers(2, 12), st.integers(1, 3)), elements=st.integers(0, 9).map(float)))
def test_gaps_are_the_edges_of_the_shortest_tree(points: np.ndarray) -> None:
    points = np.unique(points, axis=0)
    points = points[nondominated(points)]
    metrics = tuple(Metric(f"m{i}") for i in range(points.shape[1]))
    records = [
        Record(
            Candidate({"i": i}), {m.name: Measurement(v) for m, v in zip(metrics, p, strict=True)}, "ok", "", metrics
        )
        for i, p in enumerate(points.tolist())
    ]
    reach = np.where(np.ptp(points, axis=0) > 0, np.ptp(points, axis=0), 1)
    apart = np.linalg.norm((points[:, None] - points[None]) / reach, axis=2)
    tree = minimum_spanning_tree(apart).data
    assert np.allclose(front(records).gaps(), np.sort(tree)[::-1])


@given(point_sets())
def test_two_objectives_are_swept_and_more_are_searched_to_the_same_end(points: np.ndarray) -> None:
    two = np.c_[points, points][:, :2]
    with_a_constant = np.c_[two, np.zeros(len(two))]
    assert nondominated(two).tolist() == nondominated(with_a_constant).tolist()
