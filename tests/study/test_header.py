"""In what two studies differ, in words that are never two equal ones."""

from __future__ import annotations

from typing import Any

import pytest

import netwright as nw
from netwright.core.errors import InfeasibleConstraints, StoreError
from netwright.study.header import contrast, other_study
from netwright.study.stores.memory import MemoryStore


def go(store: MemoryStore, choices: Any = (("depth", (2, 3)),), objectives: Any = None, **more: Any) -> None:
    space = nw.Space([c if isinstance(c, nw.Choice) else nw.Choice(*c) for c in choices])
    nw.search(space, lambda c: {"q": 1.0, "v": 2.0}, objectives or {"q": "max"}, evaluations=2, store=store, **more)


@pytest.mark.parametrize(
    "then, now, words",
    [
        ({"objectives": {"q": "max"}}, {"objectives": {"q": "min"}}, ["its objectives is q (max), here it is q (min)"]),
        ({"objectives": {"q": "max", "v": "min"}}, {"objectives": {"v": "min", "q": "max"}}, ["q, v, here it is v, q"]),
        (
            {"objectives": {"v": "min"}, "exact": lambda c: {"v": 1.0}},
            {"objectives": {"v": "min"}},
            ["v (exact)", "v (measured)"],
        ),
        ({}, {"choices": (("depth", (2, 3, 4)),)}, ["'depth' had the options 2, 3, here 2, 3, 4"]),
        ({}, {"choices": (("deep", (2, 3)),)}, ["'depth' is no choice here", "'deep' was no choice then"]),
        ({}, {"choices": (("depth", (2, 3)), ("k", (3, 5)))}, ["'k' was no choice then"]),
        ({}, {"choices": (("depth", (2, "3")),)}, ["'depth' had the options", "'3'"]),
        (
            {"choices": (("depth", (2, 3)), ("k", (3, 5)))},
            {"choices": (("depth", (2, 3)), nw.Choice("k", (3, 5), when={"depth": 3}))},
            ["the same choices, but other conditions"],
        ),
        (
            {"choices": (("depth", (2, 3)), ("k", (3, 5)))},
            {"choices": (("k", (3, 5)), ("depth", (2, 3)))},
            ["in another order"],
        ),
        ({"seed": 1}, {"seed": 2}, ["its seed is 1, here it is 2"]),
    ],
)
def test_what_differs_is_shown(then: Any, now: Any, words: list[str]) -> None:
    store = MemoryStore()
    go(store, **then)
    with pytest.raises(StoreError, match="another study") as error:
        go(store, **now)
    assert all(word in str(error.value) for word in words), str(error.value)


@pytest.mark.parametrize(
    "then, now",
    [
        (1, 1.0), (1, "1"), (True, "True"), (None, "not set"), ("x" * 80 + "a", "x" * 80 + "b"), ("y" * 99, "y" * 98),
        ([1, 2], ["1", 2]), ([[1, 2]], [[1, 3]]), (["a, b"], ["a", "b"]), (0.1, 0.1 + 1e-16), 
        (list(range(90)), list(range(91))),        ("a" * 200, "a" * 100 + "b" + "a" * 99),
    ],
)  # fmt: skip
def test_two_values_that_differ_have_two_texts(then: Any, now: Any) -> None:
    was, is_ = contrast(then, now)
    assert was != is_ and max(len(was), len(is_)) <= 80


def test_keys_of_any_depth_and_digests() -> None:
    assert other_study({"a": {"b": 1}}, {"a": {"b": 1}}) == ""
    assert "its a.b is 1, here it is not set" in other_study({"a": {"b": 1}}, {"a": {}})
    said = other_study({"weights": "0123456789abcdef"}, {"weights": "fedcba9876543210"})
    assert said == "its weights is another one than here"


def test_a_limit_that_is_missed_by_little_is_shown_with_digits_enough() -> None:
    with pytest.raises(InfeasibleConstraints, match=r"no candidate keeps q <= 5(\.0*)?: the nearest has q 5\.0001"):
        nw.search(
            nw.Space([nw.Choice("a", (1, 2))]), lambda c: {"q": 5.0001}, {"q": "min"}, limits=["q <= 5"], evaluations=2
        )
