"""What a file's value must be is said in words, with its place."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from fuzz import swaps
from hypothesis import given
from hypothesis import strategies as st

from netwright.core.errors import NetwrightError, ShapeError
from netwright.core.files import parse_json
from netwright.core.metric import Measurement, Metric
from netwright.core.shape import Count, Positive, expect


@dataclass(frozen=True)
class Row:
    name: str
    ms: Positive
    shapes: tuple[tuple[int, ...], ...] = ()
    note: str | None = None


@pytest.mark.parametrize(
    "value, kind, found",
    [
        (1, float, 1),
        ([1, 2], tuple[int, ...], (1, 2)),
        ([1, "a"], tuple[int, str], (1, "a")),
        ([1, 2], list[int], [1, 2]),
        ([1, 2], Sequence[int], (1, 2)),
        ({"a": 1}, Mapping[str, int], {"a": 1}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": int}}, {"a": {"b": 1, "c": 2}}),
        ({}, {"a": str | None}, {"a": None}),
        (None, str | None, None),
        ("up", Literal["up", "down"], "up"),
        ({"name": "a", "ms": 1, "shapes": [[1, 2]]}, Row, Row("a", 1, ((1, 2),))),
        ({"x": {"value": 1.5, "unit": "ms", "spread": 0.1, "n": 3}}, dict[str, Measurement],
         {"x": Measurement(1.5, "ms", 0.1, 3)}),
        ({"name": "mae"}, Metric, Metric("mae")),
        ([{}, 1], Any, [{}, 1]),
    ],
)  # fmt: skip
def test_what_it_is(value: Any, kind: Any, found: Any) -> None:
    assert expect(value, kind) == found


@pytest.mark.parametrize(
    "value, kind, said",
    [
        (True, int, "a.json: it must be a whole number, not true"),
        (1.0, int, "a.json: it must be a whole number, not 1.0"),
        (float("nan"), float, "a.json: it must be a finite number, not nan"),
        (10**400, float, "a.json: it must be a finite number, not a number of more than 60 digits"),
        (None, str, "a.json: it must be a text, not nothing"),
        ("x" * 100, int, f"a.json: it must be a whole number, not '{'x' * 39}..."),
        (-1, Count, "a.json: it must be 0 or more, and less than 2^63, not -1"),
        ({}, {"a": int}, "a.json: a is missing"),
        ({"a": [{"b": 1}, {"b": None}]}, {"a": list[dict[str, int]]},
         "a.json: a[1].b must be a whole number, not nothing"),
        ([1], tuple[int, str], "a.json: it must have 2 entries, not 1"),
        ("12", list[str], "a.json: it must be a list [...], not '12'"),
        ([], dict[str, int], "a.json: it must be an object {...}, not a list [...]"),
        ([], str | None, "a.json: it must be a text, not a list [...]"),
        ([], str | int, "a.json: it must be a text or a whole number, not a list [...]"),
        ("off", Literal["up", "down"], "a.json: it must be one of 'up', 'down', not 'off'"),
        ({"r": {"name": "a", "ms": 0}}, dict[str, Row], "a.json: r.ms must be more than 0, not 0"),
        ({"name": "a", "ms": 1, "sm": 1}, Row,
         "a.json: it has a key 'sm' that there is not; known are: name, ms, shapes, note"),
        ({"x": {"value": 1, "unit": "ms"}}, dict[str, Measurement], "a.json: x.spread is missing"),
        ([{"name": "mae", "direction": "up"}], list[Metric],
         "a.json: [0].direction must be one of 'max', 'min', not 'up'"),
    ],
)  # fmt: skip
def test_what_it_is_not(value: Any, kind: Any, said: str) -> None:
    with pytest.raises(ShapeError) as raised:
        expect(value, kind, "a.json")
    assert str(raised.value) == said


ROW = {"name": "a", "ms": 1.5, "shapes": [[1, 2], [3]], "note": "n"}
MEASURED = {"value": 1.5, "unit": "ms", "spread": 0.1, "n": 3, "kind": "partial", "best_case": 1.0, "cpu": 2.0}


@pytest.mark.parametrize("value, kind", [({"rows": [ROW]}, {"rows": list[Row]}), (MEASURED, Measurement)])
def test_whatever_stands_in_a_file_is_read_or_told(value: Any, kind: Any) -> None:
    @given(swaps(value))
    def check(content: bytes) -> None:
        try:
            read = parse_json(content)
        except ValueError:
            return
        try:
            found = expect(read, kind)
        except NetwrightError as error:
            assert len(str(error)) < 300 and "\n" not in str(error)
        else:
            if isinstance(found, Measurement):  # what is read can be written and read again
                assert Measurement.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found

    check()


@pytest.mark.parametrize(
    "text, said",
    [
        ('{"a": 1, "a": 2}', "the key 'a' stands there twice"),
        ("NaN", "no number of JSON"),
        ("[1e999]", "beyond all floats"),
        ("[" * 101 + "]" * 101, "more than 100 deep"),
        ('{"a":' * 5000 + "1" + "}" * 5000, "more than 100 deep"),
        (b"\xff\xfe1\x00", "can't decode"),
        ("9" * 5000, "digits"),
        ("", "Expecting value"),
    ],
)
def test_what_is_no_json_is_told(text: str | bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_json(text)


PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()


@given(st.recursive(PLAIN, lambda inside: st.lists(inside) | st.dictionaries(st.text(), inside)))
def test_json_is_read(value: Any) -> None:
    assert parse_json(json.dumps(value)) == value == parse_json(json.dumps(value).encode("utf-8-sig"))
