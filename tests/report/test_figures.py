from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from netwright.core.limits import Limit
from netwright.core.metric import Measurement, Metric
from netwright.report.data import hypervolume_trace
from netwright.report.sections.front import _Side, axes_of, front_figure
from netwright.report.sections.objectives import parallel_figure
from netwright.report.sections.progress import progress_figure
from netwright.report.shapes import shape_html, shape_lines

from .stories import ACCURACY, BYTES, LATENCY, LIMITS, records, space, story


def traces(figure):
    return {trace.name: trace for trace in figure.data}


def test_what_is_to_be_maximised_goes_up():
    error = Metric("error", "%", "min")
    assert axes_of([ACCURACY, LATENCY]) == axes_of([LATENCY, ACCURACY]) == (LATENCY, ACCURACY)
    assert axes_of([error, LATENCY]) == (LATENCY, error)


def test_every_measured_record_is_on_the_front_chart_once():
    told = story(records(40), roles=["most accurate"])
    drawn = traces(front_figure(told))
    assert len(drawn["front"].x) == len(told.front)
    assert len(drawn["exported"].x) == 1 and drawn["exported"].text == ("<b>most accurate</b>",)
    dots = sum(len(drawn[name].x) for name in ("breaks a limit", "feasible", "front"))
    assert dots == sum("latency" in record.values for record in told.records)


@pytest.mark.parametrize("direction, end, towards", [("min", 100.0, "left"), ("max", 0.0, "right")])
def test_names_of_exported_networks_stay_within_the_chart(direction, end, towards):
    speed = Metric("latency", "ms", direction)
    side = _Side.of(speed, [0.0, 100.0], [])
    for wished in ("left", "right"):
        assert side.text_side(end, wished) == towards
        assert side.text_side(50.0, wished) == side.text_side(100.0 - end, wished) == wished
    at = 100.0 - end + (15 if end else -15)  # near the better end, where a long name has room on one side alone
    assert side.text_side(at, towards, letters=40) != towards == side.text_side(at, towards, letters=4)


def test_what_was_measured_is_told_where_the_value_was_moved():
    (first, *rest) = records(40)
    moved = Measurement(1.0, "ms", 0.1, kind="corrected", uncorrected=1.25)
    told = story([replace(first, measurements={**first.measurements, "latency": moved}), *rest])
    texts = [text for trace in front_figure(told).data for text in trace.hovertext]
    assert sum("(1.25 ms as measured)" in text for text in texts) >= 1
    assert sum("as measured" in text for text in texts) <= 2, "on the front, and where it is exported"


def test_the_front_is_a_staircase_with_intervals():
    front = traces(front_figure(story(records(40))))["front"]
    assert front.mode == "lines+markers" and front.line.shape == "hv"
    assert np.all(np.diff(front.x) > 0) and np.all(np.diff(front.y) > 0)
    assert set(front.error_x.array) == {0.01} and set(front.error_y.array) == {0.4}


def test_exact_objectives_have_no_intervals():
    objectives = (ACCURACY, BYTES)
    assert traces(front_figure(story(records(40, objectives), objectives)))["front"].error_x.array is None


def test_limits_on_either_axis_are_drawn_and_others_are_not():
    limits = (*LIMITS, Limit("accuracy", ">=", 90, "%"), Limit("macs", "<=", 1e6))
    figure = front_figure(story(records(40, limits=limits), limits=limits))
    assert [note.text for note in figure.layout.annotations] == ["latency ≤ 0.9 ms", "accuracy ≥ 90.00 %"]
    shade = figure.layout.shapes[0]
    assert shade.x0 == 0.9 and shade.x1 > max(r.values.get("latency", 0) for r in records(40))


def test_a_wide_range_is_logarithmic_unless_a_limit_forbids_it():
    objectives = (ACCURACY, BYTES)
    found = [replace(r, measurements={**r.measurements, "weight_bytes": Measurement(10.0**i)}) for i, r in ok_ones()]
    limit = Limit("weight_bytes", "<=", 1e3, "B")
    figure = front_figure(story(found, objectives, limits=[limit]))
    assert figure.layout.xaxis.type == "log"
    assert figure.layout.annotations[0].x == 3 and figure.layout.shapes[1].x0 == 1e3
    figure = front_figure(story(found, objectives, limits=[replace(limit, op=">=", bound=0)]))
    assert figure.layout.xaxis.type == "linear"


def ok_ones():
    return enumerate([r for r in records(20, (ACCURACY, BYTES)) if r.status == "ok"][:5])


def test_what_the_pointer_says_is_escaped():
    text = traces(front_figure(story(records(40))))["front"].hovertext[0]
    assert "accuracy  " in text and " ± 0.40 %" in text and "stage0 depth" in text
    told = story(records(40), roles=["<a href='x'>"])
    assert "<a" not in traces(front_figure(told))["exported"].text[0]


def test_progress_draws_the_trace():
    told = story(records(40))
    (line,) = progress_figure(told).data
    np.testing.assert_allclose(line.y, hypervolume_trace(told.records, told.objectives))
    dots, best = progress_figure(story(records(40), [ACCURACY])).data
    assert len(best.y) == 40 and len(dots.y) == sum(r.status == "ok" for r in records(40))


def test_three_objectives_have_parallel_axes_with_better_on_top():
    objectives = (ACCURACY, LATENCY, BYTES)
    told = story(records(40, objectives), objectives)
    (lines,) = parallel_figure(told).data
    up, down, _ = lines.dimensions
    assert up.range[0] < up.range[1] and down.range[0] > down.range[1]
    assert sum(lines.line.color) == len(told.front)
    assert traces(front_figure(told))["front"].mode == "markers"


def test_a_shape_shows_every_choice():
    html = shape_html(space().smallest, space())
    assert html.count('class="box"') == 6 and html.count('class="box absent"') == 2
    assert "stage1.block1.kernel: not active, of 3, 5" in html
    assert shape_lines(space().smallest, space()) == ["stage0 depth 1, width 8 · 3", "stage1 depth 1, width 8 · 3"]
