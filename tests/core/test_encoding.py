"""Candidates as rows: what is given in any form becomes the row of the canonical candidate, or is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netwright.core.candidate import Candidate
from netwright.core.encoding import Candidates, Encoding
from netwright.core.errors import SpaceError
from netwright.core.space import Choice, Space

SPACE = Space(
    [
        Choice("depth", (1, 2, 3)),
        Choice("kind", ("a", None, True, (1, 2))),
        Choice("width", (1.0, 2.5), {"depth": (2, 3)}),
        Choice("inner", (4, 8), [{"width": 2.5}, {"kind": "a"}]),
    ]
)
ENCODING = Encoding(SPACE)
complete = st.fixed_dictionaries({c.name: st.sampled_from(c.options) for c in SPACE})


@given(st.lists(complete, max_size=8))
def test_rows_are_those_of_canonical_candidates(given: list[dict[str, object]]) -> None:
    canonical = [SPACE.candidate(one) for one in given]
    rows = ENCODING.of(given)
    assert rows.dtype == np.int64
    assert rows.tolist() == [SPACE.indices(c).tolist() for c in canonical]
    assert np.array_equal(ENCODING.of(canonical), rows)
    assert np.array_equal(ENCODING.of([Candidate(one) for one in given]), rows)  # type: ignore[arg-type]
    assert ENCODING.candidates(rows) == canonical


def test_options_in_other_forms_are_found() -> None:
    other = {"depth": np.int64(3), "kind": [1, 2], "width": 1, "inner": 8}
    assert ENCODING.of([other]).tolist() == [[2, 3, 0, -1]]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"depth": 1}, "'kind' is missing"),
        ({"depth": 2, "kind": None}, "'width' is missing"),
        ({"depth": 1, "kind": "a"}, "'inner' is missing"),
        ({"depth": 4, "kind": None}, "cannot be 4"),
        ({"depth": 1, "kind": 1}, "cannot be 1"),
        ({"depth": 1, "kind": None, "heigth": 1}, "heigth"),
    ],
)
def test_what_is_no_candidate_is_refused(wrong: dict[str, object], why: str) -> None:
    with pytest.raises(SpaceError, match=why):
        ENCODING.of([SPACE.smallest, wrong])


def test_candidates_are_made_when_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    expected = [SPACE.sample(rng) for _ in range(6)]
    rows = ENCODING.of(expected)
    some = Candidates(ENCODING, rows)
    assert ENCODING.of(some) is rows
    assert len(some) == 6
    assert list(some) == expected
    assert some[4] == expected[4] == some[-2]
    assert list(some[2:4]) == expected[2:4]
    assert list(some[np.array([5, 0])]) == [expected[5], expected[0]]
    assert np.array_equal(Encoding(Space({"depth": (1, 2)})).of(Candidates(ENCODING, rows[:0])), np.empty((0, 1)))
