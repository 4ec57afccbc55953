"""Spaces against a reference that knows only the definition: every full assignment, brought into canonical form."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netwright.core.candidate import Candidate
from netwright.core.errors import SpaceError
from netwright.core.space import Choice, Space

POOLS: list[list[Any]] = [
    [2, 3, 4, 7],
    [0.25, 0.5, 1.5, 1e-9],
    ["relu", "gelu", "", "ünïcode"],
    [False, True, None],
    [(1, 2), (1, 3), (), ("a", None)],
    [((1, 2), (3,)), ((1,), (2, 3)), (((4,),), 5)],
]


class Holds:
    """A predicate over parents: every (or any) of them takes one of the listed options."""

    def __init__(self, allowed: dict[str, list[Any]], combine: Any) -> None:
        self.allowed, self.combine = allowed, combine

    def __call__(self, c: Mapping[str, Any]) -> bool:
        return self.combine(c[name] in options for name, options in self.allowed.items())


@st.composite
def choices(draw: st.DrawFn) -> list[Choice]:
    found: list[Choice] = []
    for i in range(draw(st.integers(1, 5))):
        pool = draw(st.sampled_from(POOLS))
        options = draw(st.lists(st.sampled_from(pool), min_size=1, max_size=3, unique_by=repr))
        when: Any = None
        kind = draw(st.sampled_from(["none", "all", "any", "mapping", "mapping", "single"])) if found else "none"
        if kind != "none":
            parents = draw(st.lists(st.sampled_from(found), min_size=1, max_size=2, unique_by=lambda c: c.name))
            allowed = {p.name: draw(st.lists(st.sampled_from(p.options), min_size=1, unique_by=repr)) for p in parents}
            if kind == "mapping":
                when = allowed
            elif kind == "single":
                when = {name: options[0] for name, options in allowed.items()}
            else:
                when = Holds(allowed, all if kind == "all" else any)
        found.append(Choice(f"c{i}", tuple(options), when))
    return found


def canonical(listed: list[Choice], full: Mapping[str, Any]) -> dict[str, Any]:
    """The definition: a choice exists where its condition holds for the choices that exist before it."""
    chosen: dict[str, Any] = {}
    for choice in listed:
        if choice.when is None:
            holds = True
        elif callable(choice.when):
            try:
                holds = choice.when(chosen)
            except KeyError:
                holds = False
        else:
            holds = all(
                name in chosen and chosen[name] in (allowed if isinstance(allowed, list) else [allowed])
                for name, allowed in choice.when.items()
            )
        if holds:
            chosen[choice.name] = full[choice.name]
    return chosen


def assignments(listed: list[Choice]) -> list[dict[str, Any]]:
    names = [c.name for c in listed]
    return [dict(zip(names, row, strict=True)) for row in itertools.product(*(c.options for c in listed))]


@given(choices())
def test_the_space_holds_each_network_once(listed: list[Choice]) -> None:
    space = Space(listed)
    every = list(space.enumerate())
    expected = {repr(sorted(canonical(listed, full).items())) for full in assignments(listed)}
    assert Counter(repr(sorted(c.items())) for c in every) == Counter(expected)
    assert len({c.key for c in every}) == len(set(every)) == len(every) == space.size


@given(choices())
def test_equal_networks_are_one_candidate(listed: list[Choice]) -> None:
    space = Space(listed)
    by_form: dict[str, Candidate] = {}
    for full in assignments(listed):
        wanted = canonical(listed, full)
        candidate = space.candidate(full)
        assert dict(candidate) == wanted, "choices that are not active are dropped, the others kept"
        assert space.candidate(wanted) == candidate
        assert space.candidate(candidate) == candidate
        backwards = space.candidate(dict(reversed(full.items())))
        assert (backwards, hash(backwards), backwards.id) == (candidate, hash(candidate), candidate.id)
        first = by_form.setdefault(repr(wanted), candidate)
        assert first == candidate
        assert first.key == candidate.key
    assert len({c.id for c in by_form.values()}) == len(by_form)


@given(choices())
def test_keys_indices_and_json_round_trip(listed: list[Choice]) -> None:
    space = Space(listed)
    for candidate in space.enumerate():
        assert space.parse(candidate.key) == candidate
        assert dict(space.parse(candidate.key)) == dict(candidate), "tuples come back as tuples"
        assert space.candidate(json.loads(json.dumps(dict(candidate)))) == candidate
        positions = space.indices(candidate)
        assert positions.dtype == np.int64
        assert positions.shape == (len(space),)
        assert [p >= 0 for p in positions] == [c.name in candidate for c in space]
        assert space.from_indices(positions) == candidate
        assert space.from_indices(np.where(positions < 0, 99, positions)) == candidate


@given(choices(), st.integers(0, 2**32))
def test_samples_are_legal_and_follow_the_seed(listed: list[Choice], seed: int) -> None:
    space = Space(listed)
    legal = set(space.enumerate())
    rngs = [np.random.default_rng(seed) for _ in range(2)]
    drawn = [[space.sample(rng) for _ in range(10)] for rng in rngs]
    assert drawn[0] == drawn[1]
    assert set(drawn[0]) <= legal
    assert {space.smallest, space.largest} <= legal


@given(choices())
def test_a_space_is_known_by_its_fingerprint(listed: list[Choice]) -> None:
    assert Space(listed).fingerprint == Space(listed).fingerprint
    more = [*listed, Choice("more", (1, 2))]
    assert Space(more).fingerprint != Space(listed).fingerprint
    other = [*listed[:-1], Choice(listed[-1].name, (*listed[-1].options, "another"), listed[-1].when)]
    assert Space(other).fingerprint != Space(listed).fingerprint


def test_sampling_reaches_every_candidate() -> None:
    space = Space([Choice("d", (1, 2, 3)), Choice("k", (3, 5), when={"d": (2, 3)}), Choice("e", (4, 6), when={"k": 5})])
    rng = np.random.default_rng(0)
    seen = Counter(space.sample(rng) for _ in range(3000))
    assert set(seen) == set(space.enumerate())
    assert seen[space.candidate({"d": 1})] == pytest.approx(1000, abs=120)


def test_conditions_over_inactive_parents_do_not_hold() -> None:
    space = Space(
        [
            Choice("a", (0, 1)),
            Choice("b", (0, 1), when={"a": 1}),
            Choice("mapping", (0, 1), when={"b": (0, 1)}),
            Choice("predicate", (0, 1), when=lambda c: c["b"] in (0, 1)),
            Choice("either", (0, 1), when=lambda c: c["a"] == 0 or c["b"] == 1),
        ]
    )
    assert dict(space.candidate({"a": 0, "either": 1, "b": 1})) == {"a": 0, "either": 1}
    assert space.size == len(list(space.enumerate())) == 2 + (4 + 8)


def test_a_tuple_that_is_itself_an_option_is_one_option() -> None:
    space = Space([Choice("shape", ((1, 2), (3, 4))), Choice("k", (3, 5), when={"shape": (1, 2)})])
    assert space.size == 3
    both = Space([Choice("shape", ((1, 2), (3, 4))), Choice("k", (3, 5), when={"shape": [(1, 2), (3, 4)]})])
    assert both.size == 4


def test_sizes_beyond_64_bits_are_exact_and_fast(work: Callable[[Callable[[], object]], int]) -> None:
    assert work(sizes_beyond_64_bits) < 500_000


def sizes_beyond_64_bits() -> None:
    assert Space(Choice(f"c{i}", (1, 2, 3)) for i in range(200)).size == 3**200
    stages = []
    for s in range(40):  # once-for-all: a stage's blocks exist where its depth reaches them
        stages.append(Choice(f"s{s}.depth", (2, 3, 4)))
        for b in range(4):
            stages.append(Choice(f"s{s}.k{b}", (3, 5, 7), when={f"s{s}.depth": tuple(range(max(2, b + 1), 5))}))
    assert Space(stages).size == (3**2 + 3**3 + 3**4) ** 40
    chain = [Choice("c0", (0, 1))]
    chain += [Choice(f"c{i}", (0, 1), when={f"c{i - 1}": 1}) for i in range(1, 300)]
    assert Space(chain).size == 301
    star = [Choice("on", (False, True))] + [Choice(f"x{i}", (1, 2), when={"on": True}) for i in range(150)]
    assert Space(star).size == 1 + 2**150


def test_a_space_of_any_size_has_a_repr() -> None:
    assert "1500 choices" in repr(Space(Choice(f"c{i}", (1, 2, 3)) for i in range(1500)))


@pytest.mark.parametrize("given_name", ["detph", "Depth", "depth "])
def test_an_unknown_name_is_told_the_nearest(given_name: str) -> None:
    space = Space([Choice("depth", (2, 3)), Choice("width", (8, 16))])
    with pytest.raises(SpaceError, match=r"did you mean 'depth'"):
        space.candidate({"depth": 2, "width": 8, given_name: 2})
    with pytest.raises(SpaceError, match=r"did you mean 'depth'"):
        space[given_name]
    with pytest.raises(SpaceError, match=r"(?s)late.*did you mean 'depth'"):
        Space([Choice("depth", (2, 3)), Choice("late", (1,), when={given_name: 2})])
    with pytest.raises(SpaceError, match=r"(?s)late.*did you mean 'depth'"):
        Space([Choice("depth", (2, 3)), Choice("late", (1,), when=lambda c: c[given_name] == 2)])


def test_an_illegal_option_is_told_the_legal_ones() -> None:
    space = Space([Choice("depth", (2, 3)), Choice("k", (3, 5), when={"depth": 3})])
    with pytest.raises(SpaceError, match=r"'depth' cannot be 4.*\[2, 3\]"):
        space.candidate({"depth": 4})
    with pytest.raises(SpaceError, match=r"'k' cannot be 9.*\[3, 5\]"):
        space.candidate({"depth": 2, "k": 9})  # also where the choice is not active: it is a mistake all the same
    with pytest.raises(SpaceError, match=r"'k' is missing.*\[3, 5\]"):
        space.candidate({"depth": 3})
    with pytest.raises(SpaceError, match=r"cannot be 4.*\[2, 3\]"):
        Space([Choice("depth", (2, 3)), Choice("late", (1,), when={"depth": (3, 4)})])


@pytest.mark.parametrize("key", ["", "{", "[1, 2]", "3", "null", '{"depth": 9}', '{"depth": NaN}', '{"deep": 2}'])
def test_a_key_that_is_no_candidate_is_refused(key: str) -> None:
    with pytest.raises(SpaceError):
        Space([Choice("depth", (2, 3))]).parse(key)


@pytest.mark.parametrize(
    "options", [(), "abc", 5, (1, 1), (1, 1.0), (float("nan"),), (float("inf"),), ({},), ([1, 2], (1, 2)), (object(),)]
)
def test_options_that_are_none_are_refused(options: Any) -> None:
    with pytest.raises(SpaceError, match="'c'"):
        Choice("c", options)


def test_a_name_may_stand_once() -> None:
    with pytest.raises(SpaceError, match="two choices are called 'a'"):
        Space([Choice("a", (1,)), Choice("a", (2,))])
    with pytest.raises(SpaceError, match="needs a name"):
        Choice("", (1,))
    with pytest.raises(SpaceError, match="not listed before"):
        Space([Choice("b", (1,), when={"a": 1}), Choice("a", (1,))])


@pytest.mark.parametrize("scalar", [np.int8, np.int64, np.uint16, np.float32, np.float64])
def test_numpy_scalars_are_python_values(scalar: type) -> None:
    space = Space([Choice("depth", np.arange(2, 5)), Choice("rate", [scalar(2), scalar(4)], when={"depth": scalar(3)})])
    candidate = space.candidate({"depth": scalar(3), "rate": scalar(4)})
    assert candidate == space.candidate({"depth": 3, "rate": 4})
    assert type(candidate["depth"]) is int
    assert type(candidate["rate"]) in (int, float)
    assert space.parse(candidate.key) == candidate
    assert space.size == 2 + 2


def test_lists_from_json_are_tuple_options_at_any_depth() -> None:
    option = (((1, 2), 3), "x")
    space = Space([Choice("c", (option, ()))])
    assert space.candidate({"c": json.loads(json.dumps(option))})["c"] == option
    assert space.candidate({"c": [((1, 2), 3), "x"]})["c"] == option
    assert space.candidate({"c": ([[1, 2], 3], "x")})["c"] == option


def test_an_array_for_an_option_is_the_option_or_a_space_error() -> None:
    space = Space([Choice("c", ((1, 2), (3, 4)))])
    try:
        assert space.candidate({"c": np.array([3, 4])})["c"] == (3, 4)
    except SpaceError as error:
        assert "'c'" in str(error)


def test_truth_values_are_not_numbers() -> None:
    space = Space([Choice("flag", (False, True)), Choice("n", (0, 1))])
    for wrong in ({"flag": 1, "n": 1}, {"flag": True, "n": True}, {"flag": 0.0, "n": 0}):
        with pytest.raises(SpaceError):
            space.candidate(wrong)
    assert space.candidate({"flag": np.True_, "n": np.int64(1)}) == space.candidate({"flag": True, "n": 1})
    assert space.candidate({"flag": True, "n": 0}) != space.candidate({"flag": False, "n": 1})
    assert space.candidate({"flag": True, "n": 1.0}).key == '{"flag":true,"n":1}'


@pytest.mark.parametrize("when", [{"a": True}, lambda c: c["a"] is True])
def test_true_and_1_are_different_options_or_do_not_stand_together(when: Any) -> None:
    try:
        space = Space([Choice("a", (1, True)), Choice("b", (3, 5), when=when)])
    except SpaceError as error:
        assert "distinct" in str(error)
        return
    assert [dict(c) for c in space.enumerate()] == [{"a": 1}, {"a": True, "b": 3}, {"a": True, "b": 5}]
    assert space.size == 3
    assert [list(space.indices(c)) for c in space.enumerate()] == [[0, -1], [1, 0], [1, 1]]


def test_candidates_are_mappings_and_not_equal_to_dicts_of_anything_else() -> None:
    candidate = Space([Choice("b", (1,)), Choice("a", (2,))]).largest
    assert candidate.key == '{"a":2,"b":1}'
    assert list(candidate) == ["b", "a"]
    assert Candidate({"a": 2, "b": 1}) == candidate
    assert candidate != Candidate({"a": 2})
    assert candidate not in [None, "x", 3]
    assert len({candidate, Candidate({"a": 2, "b": 1})}) == 1
