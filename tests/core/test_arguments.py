"""Values against the types of parameters: what fits, and the words for what does not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netwright.core.arguments import misfit, plain, shown

KINDS: list[Any] = [
    int, float, str, bool, None, Path, int | None, str | Path, list[int], tuple[int, str], Sequence[str | None],
    Mapping[str, list[float]], Iterable[Any], Literal["a", 1], Callable[[int], Any], Callable[[], str] | None,
]  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.sampled_from([int, len, np]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=5,
)


@given(VALUES, st.sampled_from(KINDS))
def test_any_value_is_judged_and_told_in_one_line(value: Any, kind: Any) -> None:
    wrong = misfit("it", value, kind)
    assert wrong is None or ((str(wrong).startswith("it") or "of it" in str(wrong)) and "\n" not in str(wrong))
    assert "\n" not in shown(value)


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        (np.int64(3), int, ""),
        (np.float32(0.5), float, ""),
        (True, int, "it is a whole number, not True"),
        ("ab", list[str], "it is a list (a text, ...), not 'ab'; put it in a list: ['ab']"),
        (["a", 3], list[str], "it[1] is a text, not 3"),
        ({"a": ["x"]}, Mapping[str, list[float]], "it['a'][0] is a number, not 'x'"),
        (lambda: 1, Callable[[int], Any], "it is a function of a whole number, not the function <lambda>, which"),
        ("c", Literal["a", "b"], "it is 'a' or 'b', not 'c'"),
        ("", str | Path, "it is a path, not ''"),
        (int, int, "not the class int; call it: int(...)"),
    ],
)
def test_words(value: Any, kind: Any, words: str) -> None:
    told = misfit("it", value, kind)
    assert words in str(told) if words else told is None


def test_values_are_made_what_their_types_have() -> None:
    assert type(plain(np.int64(3), int)) is int and plain("a", Path | None) == Path("a") and plain("a", str) == "a"
