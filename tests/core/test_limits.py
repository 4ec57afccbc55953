"""Limits: what a person writes, in the units that a person uses."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from netwright.core.errors import LimitError
from netwright.core.limits import Limit, broken, explain, is_relative, parse_limit
from netwright.core.metric import Measurement, Metric
from netwright.core.units import UNITS, format_value

METRICS = (
    Metric("latency", "ms"),
    Metric("size", "B"),
    Metric("top1", "%", "max"),
    Metric("energy", "mJ"),
    Metric("macs"),
    Metric("cpu.rss", "B"),
    Metric("charge", "mAh"),
)


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("latency <= 5 ms", 5.0),
        ("latency<=5ms", 5.0),
        ("  latency ≤ 0.005 s ", 5.0),
        ("latency < 250 us", 0.25),
        ("latency < 250 µs", 0.25),
        ("latency < 250 μs", 0.25),
        ("latency <= 1e6 ns", 1.0),
        ("size <= 2 MB", 2e6),
        ("size <= 2 MiB", 2.0 * 2**20),
        ("size <= 300", 300.0),
        ("size <= 1.5e3 kB", 1.5e6),
        ("top1 >= 97.5 %", 97.5),
        ("top1>=97.5%", 97.5),
        ("energy <= 2 J", 2000.0),
        ("macs <= 300M", 3e8),
        ("macs <= 300e6", 3e8),
        ("macs <= .5G", 5e8),
        ("macs <= 5.k", 5e3),
        ("macs > -1", -1.0),
        ("cpu.rss <= 1 GB", 1e9),
        ("charge <= 3 mAh", 3.0),
    ],
)
def test_units(text: str, bound: float) -> None:
    limit = parse_limit(text, METRICS)
    assert limit.bound == pytest.approx(bound, rel=1e-12)
    assert limit.op in ("<=", ">=", "<", ">")
    assert limit.unit == {m.name: m.unit for m in METRICS}[limit.metric]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "latency",
        "latency <= ",
        "latency 5 ms",
        "latency == 5 ms",
        "latency = 5 ms",
        "latency <= five ms",
        "<= 5 ms",
        "latency <= 5 ms now",
        "5 ms >= latency",
        "latency <= nan ms",
        "latency <= inf ms",
        "latency => 5 ms",
        "latency <= 1.2.3 ms",
        "macs <= 300,000",
        "macs <= 1_000",
        "macs <= 0x10",
        "latency <= 5 ms, macs <= 3",
    ],
)
def test_malformed_limits_are_refused(text: str) -> None:
    with pytest.raises(LimitError) as caught:
        parse_limit(text, METRICS)
    assert repr(text) in str(caught.value)


def test_errors_name_what_is_wrong_and_what_is_right() -> None:
    with pytest.raises(LimitError, match=r"unknown metric.*did you mean 'latency'"):
        parse_limit("latncy <= 5 ms", METRICS)
    with pytest.raises(LimitError, match=r"unknown metric; known are: .*macs"):
        parse_limit("zzzz <= 5 ms", METRICS)
    with pytest.raises(LimitError, match=r"no unit; latency takes one of: ms, s, us"):
        parse_limit("latency <= 5", METRICS)
    with pytest.raises(LimitError, match=r"no unit; top1 takes one of: %"):
        parse_limit("top1 >= 0.97", METRICS)
    with pytest.raises(LimitError, match=r"unit 'MB'; latency takes one of: ms"):
        parse_limit("latency <= 5 MB", METRICS)
    with pytest.raises(LimitError, match=r"unit 'ms'; macs takes one of: k, K, M, G"):
        parse_limit("macs <= 5 ms", METRICS)
    with pytest.raises(LimitError, match=r"unit 'Ah'; charge takes one of: mAh"):
        parse_limit("charge <= 5 Ah", METRICS)


def test_a_bound_beyond_all_numbers_is_refused() -> None:
    with pytest.raises(LimitError):
        parse_limit("macs <= 1e999", METRICS)


numbers = st.integers(1, 999)
powers = st.integers(-4, 11)


@given(st.sampled_from(METRICS), st.sampled_from(["<=", ">=", "<", ">"]), numbers, powers)
def test_what_is_printed_is_read_again(metric: Metric, op: str, digits: int, power: int) -> None:
    if metric.unit == "%":
        power = -(power % 3)  # percentages are printed with two decimals
    if metric.unit in ("", "B"):
        power = abs(power)
    limit = Limit(metric.name, op, float(digits * Fraction(10) ** power), metric.unit)
    again = parse_limit(str(limit), METRICS)
    assert (again.metric, again.op, again.unit) == (limit.metric, limit.op, limit.unit)
    assert again.bound == pytest.approx(limit.bound, rel=1e-9)


@pytest.mark.parametrize(
    ("unit", "bound", "value"), [("", 1233.0, 1234.0), ("B", 2_000_000.0, 2_004_000.0), ("ms", 5.0, 5.004)]
)
def test_a_reason_tells_the_value_from_the_bound(unit: str, bound: float, value: float) -> None:
    reason = explain([Limit("m", "<=", bound, unit)], {"m": Measurement(value, unit)})
    said = reason.removeprefix("m is ").split(", the limit is m <= ")
    assert said[0] != said[1], reason


@given(st.floats(0, 1e15), st.sampled_from(sorted(UNITS)))
@example(999_999.0, "")
@example(999.9999, "B")
@example(1e12, "B")
def test_show_is_near_the_value_and_has_a_unit_that_can_be_read(value: float, unit: str) -> None:
    text = format_value(value, unit)
    number, _, shown = text.partition(" ")
    assert shown in UNITS[unit]
    read = float(number) * UNITS[unit][shown]
    assert math.isclose(read, value, rel_tol=6e-3, abs_tol=6e-3 if unit == "%" else 0)


bounds = st.floats(-1e9, 1e9)


@given(bounds, bounds, st.sampled_from(["<=", ">=", "<", ">"]))
@example(0.0, 0.0, "<")
@example(3.0, 3.0, "<=")
@example(0.0, 1e-300, "<=")
@example(1e9, 1e9 + 1e-7, "<=")
def test_excess_is_positive_exactly_where_the_limit_is_broken(bound: float, value: float, op: str) -> None:
    limit = Limit("m", op, bound)
    kept = {"<=": value <= bound, ">=": value >= bound, "<": value < bound, ">": value > bound}[op]
    assert limit.allows(value) is kept
    assert (limit.violation(value) == 0.0) is kept
    assert limit.violation(value) >= 0.0
    assert broken([limit], {"m": value}) == ([] if kept else [limit])


def test_excess_is_relative_and_grows_with_the_distance() -> None:
    limit = Limit("m", "<=", 50.0)
    assert limit.violation(75.0) == pytest.approx(0.5)
    assert 0 < limit.violation(51.0) < limit.violation(52.0)
    assert Limit("m", ">=", 50.0).violation(25.0) == pytest.approx(0.5)


def test_what_was_not_measured_breaks_nothing() -> None:
    limits = [Limit("latency", "<=", 5.0, "ms"), Limit("macs", "<=", 1e6)]
    assert broken(limits, {}) == []
    measured = {"latency": Measurement(7.0, "ms"), "macs": Measurement(2e6), "other": Measurement(1.0)}
    assert explain(limits, measured) == (
        "latency is 7 ms, the limit is latency <= 5 ms; macs is 2 M, the limit is macs <= 1 M"
    )


# -- relative to a given model ---------------------------------------------------------------------------------------

RELATIVE = (Metric("latency", "ms"), Metric("accuracy", "%", "max"), Metric("macs"), Metric("params"))
GIVEN = {"latency": 10.0, "accuracy": 90.0, "macs": 2e6}


@pytest.mark.parametrize(
    ("text", "bound", "told"),
    [
        ("latency <= 0.5x", 5.0, "latency <= 5 ms (0.5x)"),
        ("macs<.25x", 5e5, "macs < 500 k (.25x)"),
        ("accuracy >= -1 point", 89.0, "accuracy >= 89.00 % (-1 point)"),
        ("accuracy >= +0.5 points", 90.5, "accuracy >= 90.50 % (+0.5 points)"),
        ("accuracy >= 0.99x", 89.1, "accuracy >= 89.10 % (0.99x)"),
    ],
)
def test_a_bound_may_be_relative_to_the_given_model(text, bound, told):
    limit = parse_limit(text, RELATIVE, GIVEN)
    assert limit.bound == pytest.approx(bound) and str(limit) == told and is_relative(text)
    assert limit == Limit(limit.metric, limit.op, limit.bound, limit.unit), "how it was written tells no two apart"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("accuracy >= 1 point", r"does not say in which direction: write 'accuracy >= -1 point'"),
        ("latency <= -1 point", "points, which are of percentages: write 'latency <= 0.9x'"),
        ("latency <= 0x", "more than 0"),
        ("params <= 0.5x", "params is not known here"),
        ("latncy <= 0.5x", "did you mean 'latency'"),
    ],
)
def test_what_is_no_relative_bound_is_told(text, words):
    with pytest.raises(LimitError, match=words):
        parse_limit(text, RELATIVE, GIVEN)


def test_others_are_not_relative():
    assert not any(map(is_relative, ("latency <= 5 ms", "macs <= 3M", "nonsense", "accuracy >= 90 %")))
