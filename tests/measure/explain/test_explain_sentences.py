"""Operators find their layers, and what is found is said so that a person can act on it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from netwright.core.metric import Measurement
from netwright.measure.explain.errors import LayerErrors
from netwright.measure.explain.explanation import Conversion, Explanation, LayerReport, Trial
from netwright.measure.explain.operators import mean, shares
from netwright.measure.explain.sentences import sentences
from netwright.measure.runtimes.base import Operator


def layer(path: str, before: float, ms: float, kind: str = "3x3 convolution", **more: object) -> LayerReport:
    made = LayerReport(path, kind, 8, before, ms, 0.0, "int8", ("QLinearConv",))
    return replace(made, **more)  # type: ignore[arg-type]


def told(*layers: LayerReport, exact: bool | None = True, sqnr: float = 20.0, **more: object) -> list[str]:
    found = Explanation(
        "low.onnx", "float.onnx", {}, Measurement(sum(e.whole_ms for e in layers), "ms"),
        Measurement(sum(e.float_ms or 0.0 for e in layers), "ms"), sqnr, layers, (), 0.0, 0.0,
    )  # fmt: skip
    return list(sentences(replace(found, **more), exact))  # type: ignore[arg-type]


def test_kinds_of_layers_that_are_slower_are_named_with_what_to_do() -> None:
    depthwise = [layer(f"b.{i}", 1.0, 1.8, "depthwise convolution") for i in range(7)]
    said = told(*depthwise, layer("head", 8.0, 3.0))
    assert said[0].startswith("the file is as fast as float32 on this target: 15.6 ms beside 15 ms; its outputs are 20")
    assert said[1] == (
        "the 7 depthwise convolutions take 81% of the time and are 1.8x slower than in float32, by 5.6 ms: try to keep "
        "b.0, b.1, b.2, b.3 and 3 more layers in float32, and measure: conversions around them cost time too"
    )
    assert said[2] == "faster than in float32: the 3x3 convolution (2.7x)"


def test_of_a_kind_only_the_slow_ones_are_to_be_kept() -> None:
    said = told(layer("a", 1.0, 3.0), layer("b", 1.0, 0.9), layer("c", 1.0, 2.0))
    assert any("try to keep a and c in float32" in each for each in said)


def test_what_was_tried_is_told_whether_it_helps_or_not() -> None:
    slow, fine = layer("a", 1.0, 3.0), layer("b", 3.0, 1.0, "linear layer")
    trials = tuple(Trial(f"way {i}", ("a",), Measurement(ms, "ms")) for i, ms in enumerate((4.5, 2.0)))
    said = told(slow, fine, trials=trials)
    assert said[1] == "the 3x3 convolution takes 75% of the time and is 3.0x slower than in float32, by 2 ms (a)"
    assert said[2] == (
        "keep way 1 in float32: measured so, the file takes 2 ms, 0.50x of its time now (faster than float32)"
    )
    said = told(slow, fine, trials=trials[:1])
    assert said[2].startswith(
        "keeping them in float32 does not help, since more is converted then (measured: way 0 4.5"
    )


def test_where_nothing_is_wrong_nothing_more_is_said() -> None:
    fine = LayerErrors(50.0, 60.0, 0.5, 0.0, 0.0)
    (said,) = told(layer("a", 2.0, 1.99, errors=fine), layer("b", 2.0, 1.99, errors=fine), sqnr=50.0)
    assert said.startswith(
        "the file is as fast as float32 on this target: 3.98 ms beside 4 ms; its outputs are 50.0 dB"
    )


def test_conversions_fallbacks_and_what_was_left_in_float32_are_told() -> None:
    said = told(
        layer("a", 1.0, 1.0, runs_in="float32"), layer("b", 1.0, 1.0, bits=32, runs_in="float32"), layer("c", 1.0, 1.0),
        conversions=(Conversion("q", "QuantizeLinear", 0.3, "a"), Conversion("r", "Transpose", 0.1, "")),
    )  # fmt: skip
    assert said[1].startswith("2 conversions (QuantizeLinear, Transpose) take 13% of the time, the most at a (10%)")
    assert said[2].startswith("a has weights of few bits and yet runs in float32 (33% of the time)")
    assert said[3] == "b is in float32 in the file (33% of the time)"


def test_the_layer_that_makes_the_error_is_named_and_its_range_blamed_where_it_is_too_narrow() -> None:
    quiet = LayerErrors(30.0, 60.0, 0.1, 0.0, None)
    loud = LayerErrors(5.0, 11.0, 0.9, 0.0, None)
    said = told(layer("a", 1.0, 1.0, errors=quiet), layer("b", 1.0, 1.0, errors=loud))
    assert said[1] == "b makes 90% of the outputs' error (alone 11.0 dB): keep it in float32, or give it more bits"
    said = told(layer("a", 1.0, 1.0, errors=quiet), layer("b", 1.0, 1.0, errors=replace(loud, clipped=0.2)))
    assert said[1].endswith("first take better ranges for it")
    assert said[2].startswith("the ranges at b are too narrow for these inputs (20.0% of the values at b are beyond")
    even = LayerErrors(20.0, 30.0, 0.1, 0.0, None)
    said = told(*(layer(str(i), 1.0, 1.0, errors=even) for i in range(10)))
    assert said[1] == "no layer dominates the outputs' error: half of it is that of 6 of 10 layers"


def test_weights_alone_of_few_bits_are_no_fallback() -> None:
    assert layer("a", 1.0, 1.0, runs_in="float32").fell_back
    assert not layer("a", 1.0, 1.0, runs_in="float32", bits=4, operators=("MatMulNBits",)).fell_back


@pytest.mark.parametrize(
    ("exact", "words"),
    [(True, "this target computes them exactly"), (False, "this target is one"), (None, "is not known of this target")],
)
def test_saturation_is_told_whatever_cpu_this_is(exact: bool | None, words: str) -> None:
    said = told(layer("a", 1.0, 1.0, errors=LayerErrors(saturated=0.25)), exact=exact)[-1]
    assert words in said and "25.0% of the sums of a" in said and "form=s8s8, u8u8, u8s7" in said


def test_operators_belong_to_layers_by_name_by_what_they_read_and_by_what_reads_them() -> None:
    def operator(name: str, kind: str, ms: float, reads: list[str], writes: list[str], *origins: str) -> Operator:
        return Operator(name, kind, "int8", ms, reads, writes, origins)

    profile = [
        operator("first", "QuantizeLinear", 1.0, ["input"], ["q"]),
        operator("t", "Transpose", 2.0, ["q"], ["t"]),
        operator("a_token_1", "QLinearConv", 4.0, ["t"], ["a1"], "a_token_1", "a"),
        operator("mine", "Transpose", 8.0, ["a1"], ["a2"], "mine"),
        operator("x", "QLinearAdd", 16.0, ["a2"], ["a3"]),
        operator("b", "QLinearConv", 32.0, ["a3"], ["out"]),
        operator("lost", "Shape", 64.0, [], []),
    ]
    found = shares(profile, {"a": "A", "b": "B"}, {"a", "b", "mine"})
    assert {path: each.ms for path, each in found.items()} == {"A": 28.0, "B": 32.0, "": 64.0}
    assert [each.name for each in found["A"].conversions] == ["first", "t"] and found["A"].runs_in == "int8"
    twice = mean([profile, [replace(each, ms=3 * each.ms) for each in profile]])
    assert [each.ms for each in twice] == [2 * each.ms for each in profile]
