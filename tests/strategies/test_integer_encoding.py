"""Candidates as rows of positions: what holds for one candidate holds for thousands at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netwright.core.space import Choice, Space
from netwright.strategies.integer_encoding import IntegerEncoding, keys, new_rows

OPTIONS: tuple[tuple[Any, ...], ...] = (
    (1,),
    (1, 2),
    (3, 5, 7),
    (0.25, 0.5, 0.75, 1.0),
    ("a", "b"),
    ("max", "mean", None),
    (True, False),
    ((1, 2), (2, 1)),
)


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    """Numbers and names, with conditions on earlier choices that may themselves depend on others."""
    choices: list[Choice] = []
    for i in range(draw(st.integers(1, 6))):
        when: Any = None
        if choices and draw(st.booleans()):
            clauses = []
            for _ in range(draw(st.integers(1, 2))):
                parents = draw(st.lists(st.sampled_from(choices), min_size=1, max_size=2, unique_by=lambda c: c.name))
                clauses.append(
                    {p.name: draw(st.lists(st.sampled_from(p.options), min_size=1, unique_by=repr)) for p in parents}
                )
            when = clauses
        choices.append(Choice(f"c{i}", draw(st.sampled_from(OPTIONS)), when))
    return Space(choices)


seeds = st.integers(0, 99)


@given(spaces(), seeds)
def test_canonical_rows_are_the_candidates_that_the_space_builds(space: Space, seed: int) -> None:
    encoding, rng = IntegerEncoding(space), np.random.default_rng(seed)
    complete = encoding.random(20, rng)
    rows = encoding.canonical(complete)
    assert encoding.candidates(rows) == [space.from_indices(row) for row in complete]
    for candidate in encoding.candidates(rows):
        assert space.candidate(candidate) == candidate
    assert np.array_equal(encoding.canonical(rows), rows)
    other = np.where(rows < 0, encoding.random(20, rng), complete)
    assert np.array_equal(encoding.canonical(other), rows), "what an inactive choice would be does not matter"


@given(spaces(), seeds)
def test_candidates_become_rows_and_back(space: Space, seed: int) -> None:
    encoding, rng = IntegerEncoding(space), np.random.default_rng(seed)
    some = [space.sample(rng) for _ in range(20)]
    rows = encoding.of(some)
    assert encoding.candidates(rows) == some
    assert np.array_equal(rows, [space.indices(c) for c in some])
    assert np.array_equal(encoding.of([space.candidate(dict(c)) for c in some]), rows)
    assert len(keys(rows)) == len(set(some))


@given(spaces())
def test_a_sample_reaches_every_candidate(space: Space) -> None:
    if space.size <= 40:
        encoding = IntegerEncoding(space)
        assert set(encoding.candidates(encoding.sample(3000, np.random.default_rng(0)))) == set(space.enumerate())


@given(spaces(), seeds)
def test_a_neighbour_differs_in_one_choice_and_in_what_that_makes_active_or_not(space: Space, seed: int) -> None:
    encoding, rng = IntegerEncoding(space), np.random.default_rng(seed)
    rows = encoding.sample(30, rng)
    for row, one, other in zip(
        rows, encoding.candidates(rows), encoding.candidates(encoding.neighbours(rows, rng)), strict=True
    ):
        assert space.candidate(other) == other
        changed = [name for name in one if name in other and other[name] != one[name]]
        if not any(len(space[name].options) > 1 for name in one):
            assert other == one, "nothing can be changed"
            continue
        assert len(changed) == 1, (one, other)
        moved = np.array([space.indices(other)])
        at = [c.name for c in space].index(changed[0])
        filled = np.where(row < 0, moved[0], row)
        filled[at] = moved[0, at]
        assert np.array_equal(encoding.canonical(np.where(filled < 0, 0, filled)[None]), moved)


@given(spaces(), seeds)
def test_children_are_candidates_and_of_alike_parents_mutants(space: Space, seed: int) -> None:
    encoding, rng = IntegerEncoding(space), np.random.default_rng(seed)
    one, other = encoding.sample(30, rng), encoding.sample(30, rng)
    for child in encoding.candidates(encoding.children(one, other, rng)):
        assert space.candidate(child) == child
    rigid = (encoding.sizes > 1) & (one >= 0)
    mutants = encoding.children(one, one, rng)
    assert np.array_equal((mutants != one).any(axis=1), rigid.any(axis=1)), "at least one choice changes, if any can"


def test_children_take_after_their_parents() -> None:
    encoding, rng = (
        IntegerEncoding(Space([Choice(f"k{i}", tuple(range(10))) for i in range(20)])),
        np.random.default_rng(0),
    )
    one, other = np.zeros((500, 20), dtype=np.int64), np.full((500, 20), 9)
    children = encoding.children(one, other, rng)
    inherited = (children == 0) | (children == 9)
    assert 0.9 < inherited.mean() < 0.97, "one choice of twenty is changed, as a rule"
    assert 0.45 < (children == 9).mean() / inherited.mean() < 0.55
    assert set(children.ravel().tolist()) == set(range(10)), "a change reaches every option"


@pytest.mark.parametrize("n", [0, 1, 5])
def test_arrays_of_any_length(n: int) -> None:
    encoding, rng = (
        IntegerEncoding(Space([Choice("a", (1, 2)), Choice("b", (1, 2, 3), {"a": 2})])),
        np.random.default_rng(0),
    )
    rows = encoding.sample(n, rng)
    assert rows.shape == encoding.neighbours(rows, rng).shape == encoding.children(rows, rows, rng).shape == (n, 2)
    assert encoding.of(encoding.candidates(rows)).shape == (n, 2)


def test_new_rows_are_new_once() -> None:
    rows = np.array([[0, 1], [1, 1], [0, 1], [2, -1]])
    seen = keys(rows[1:2])
    assert new_rows(rows, seen).tolist() == [[0, 1], [2, -1]]
    assert new_rows(rows, seen).shape == (0, 2)
