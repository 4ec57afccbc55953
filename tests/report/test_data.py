from __future__ import annotations

from dataclasses import replace

import moocore
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netwright.core.candidate import Candidate
from netwright.core.front import losses
from netwright.core.limits import Limit
from netwright.core.metric import Measurement, Metric
from netwright.core.record import Record
from netwright.core.space import Choice, Space
from netwright.report.data import (
    Cell,
    big,
    blocks,
    format_measurement,
    headline,
    hypervolume_trace,
    nearest_miss,
    usable,
    why_not,
)

from .stories import ACCURACY, LATENCY, METRICS, records, space, story


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Record], tuple[Metric, ...]]:
    """Records of any status over one to four objectives, with ties, sometimes lacking a measurement."""
    directions = draw(st.lists(st.sampled_from(("max", "min")), min_size=1, max_size=4))
    objectives = tuple(Metric(f"m{i}", direction=direction) for i, direction in enumerate(directions))
    value = st.integers(-4, 4) | st.floats(-1e3, 1e3)
    found = []
    for i in range(draw(st.integers(0, 25))):
        status = draw(st.sampled_from(("ok", "ok", "ok", "infeasible", "failed")))
        measured = objectives if draw(st.integers(0, 9)) else objectives[1:]
        found.append(Record(Candidate({"i": i}), {m.name: Measurement(draw(value)) for m in measured}, status))
    return found, objectives


@given(histories())
def test_the_trace_never_falls_and_ends_at_the_hypervolume_of_all(history):
    found, objectives = history
    trace = hypervolume_trace(found, objectives)
    assert trace.shape == (len(found),)
    where = usable(found, objectives)
    if len(objectives) == 1:
        best = np.array([objectives[0].loss(v) for v in trace[~np.isnan(trace)]])
        assert np.all(np.diff(best) <= 0)
        assert len(best) == (len(found) - where[0] if where else 0)
        return
    assert np.all(np.diff(trace) >= 0)
    assert np.all((trace >= 0) & (trace <= 100 + 1e-9))
    if where:
        assert np.all(trace[: where[0]] == 0)
        points = losses([found[i] for i in where], objectives)
        low, high = points.min(axis=0), points.max(axis=0)
        points = points[:, high > low]
        low, high = low[high > low], high[high > low]
        if points.shape[1]:
            whole = np.prod(1.05 * (high - low))
            expected = 100 * moocore.hypervolume(points, ref=high + 0.05 * (high - low)) / whole
            assert trace[-1] == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_one_objective_traces_the_best_value_so_far():
    found = [
        Record(Candidate({"i": 0}), {}, "failed"),
        *(Record(Candidate({"i": i}), {"accuracy": Measurement(v)}) for i, v in enumerate((90.0, 88.0, 95.0), 1)),
    ]
    np.testing.assert_array_equal(hypervolume_trace(found, [ACCURACY]), [np.nan, 90, 90, 95])


def test_blocks_follow_the_dots_of_the_names():
    stage0, stage1 = blocks(space().largest, space())
    assert [cell.name for cell in stage0.cells] == ["depth", "width"]
    assert [block.name for block in stage0.blocks] == ["block0", "block1"]
    assert stage1.blocks[1].cells == (Cell("kernel", (3, 5), 1),)
    assert stage1.blocks[1].cells[0].text == "5" and stage1.blocks[1].cells[0].level == 1


def test_choices_that_are_not_active_are_there_without_an_option():
    stage0, _ = blocks(space().smallest, space())
    assert [cell.position for block in stage0.blocks for cell in block.cells] == [0, None]
    assert stage0.blocks[1].cells[0].text == "" and stage0.blocks[1].cells[0].level == 0
    assert stage0.cells[1].level == pytest.approx(1 / 3)


def test_blocks_take_any_names():
    deep = [Choice("x.y.0.k", ("s", "l")), Choice("x.y.1.k", (None, True))]
    odd = Space([Choice("a", (1, 2)), *deep, Choice("a.b", (1,))])
    nameless, first, second = blocks(odd.largest, odd)
    assert (nameless.name, nameless.cells) == ("", (Cell("a", (1, 2), 1),))
    assert first.name == "x.y" and [block.name for block in first.blocks] == ["0", "1"]
    assert first.blocks[1].cells[0].text == "True"
    assert second.name == "a" and second.cells[0].name == "b"


@given(st.integers(0, 2**32))
def test_blocks_hold_every_choice_once(seed):
    candidate = space().sample(np.random.default_rng(seed))

    def cells(block, prefix=""):
        name = f"{prefix}{block.name}."
        yield from ((name + cell.name, cell) for cell in block.cells)
        for inner in block.blocks:
            yield from cells(inner, name)

    found = [pair for block in blocks(candidate, space()) for pair in cells(block)]
    assert sorted(name for name, _ in found) == sorted(choice.name for choice in space())
    assert {name: cell.options[cell.position] for name, cell in found if cell.position is not None} == dict(candidate)


def test_reasons_are_counted_by_limit_and_by_failure():
    found = records(40)
    why = why_not(story(found))
    assert why[0][:2] == ("infeasible", "breaks latency ≤ 0.9 ms")
    assert why[0][2] == sum(r.status == "infeasible" for r in found)
    assert why[-1] == ("failed", "<script>alert(1)</script>", 5)


def test_an_infeasible_record_without_a_known_limit_keeps_its_reason():
    found = [Record(Candidate({}), status="infeasible", reason="too odd"), Record(Candidate({"a": 1}), status="failed")]
    assert why_not(story(found)) == [("infeasible", "too odd", 1), ("failed", "no reason was recorded", 1)]


def test_the_nearest_miss_breaks_the_limits_least():
    limits = (Limit("latency", "<=", 1e-6, "ms"),)
    found = records(30, limits=limits)
    near = nearest_miss(story(found, limits=limits))
    assert near is not None
    assert near.values["latency"] == min(r.values["latency"] for r in found if r.status == "infeasible")
    assert nearest_miss(story([r for r in found if r.status == "failed"])) is None


@pytest.mark.parametrize(
    ("measurement", "text"),
    [
        (Measurement(0.02134, "ms", 0.000412, 50), "0.0213 ± 0.0004 ms"),
        (Measurement(98.888, "%", 0.451, 360), "98.89 ± 0.50 %"),
        (Measurement(1.25e6), "1.25 M"),
        (Measurement(24_100, "B", 310), "24.1 kB ± 300 B"),
    ],
)
def test_a_measurement_is_shown_with_its_spread(measurement, text):
    assert format_measurement(measurement) == text


def test_counts_of_any_size_are_readable():
    assert big(1296) == "1,296"
    assert big(456_000_000).split(" × ") == ["4.6", "10⁸"]  # noqa: RUF001
    assert big(10**30 - 1).endswith("10³⁰")
    assert big(3 * 10**5000).endswith("10⁵⁰⁰⁰")


def test_the_headline_says_the_result():
    found = records(40)
    told = story(found)
    first, last = told.front[0].values, told.front[-1].values
    assert headline(told) == (
        f"{len(told.front)} networks on the front: from {first['accuracy']:.2f} % accuracy at "
        f"{first['latency']:.3g} ms latency to {last['accuracy']:.2f} % at {last['latency']:.3g} ms"
    )
    assert headline(story(told.front[:1])).startswith("One network on the front: ")
    assert headline(story(found, [ACCURACY])).startswith("The best of 40 networks: ")


def test_the_headline_says_why_there_is_no_front():
    found = records(40)
    failed = [r for r in found if r.status == "failed"]
    infeasible = [r for r in found if r.status == "infeasible"]
    assert headline(story([])) == "No network has been evaluated yet"
    assert headline(story(failed)) == "None of the 5 networks tried could be measured"
    assert "keeps the limits" in headline(story(failed + infeasible))
    unmeasured = replace(found[0], measurements={}, status="ok")
    assert "was measured in every objective" in headline(story([unmeasured], [LATENCY, METRICS[2]]))
