"""Strategies are better than chance, and select as NSGA-II does."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import netwright as nw
from netwright.core.candidate import Candidate
from netwright.core.limits import Limit
from netwright.core.metric import Measurement, Metric
from netwright.core.record import Record
from netwright.core.space import Choice, Space
from netwright.strategies.base import Problem, Strategy
from netwright.strategies.evolution import Nsga2, Parents, cross, mutate
from netwright.strategies.guided import Guided
from netwright.strategies.random import Random

SPACE = Space([Choice(f"k{i:02}", (1, 2, 3)) for i in range(24)])
OBJECTIVES = (Metric("quality", direction="max"), Metric("cost", exact=True))
WORTH = np.random.default_rng(0).lognormal(0, 1.2, 24)


def cost(candidate: Candidate) -> dict[str, float]:
    return {"cost": float(sum(v for v in candidate.values()))}  # type: ignore[misc]


def quality(candidate: Candidate) -> float:
    """Some choices are worth much more than others, with diminishing returns: what costs the same differs."""
    levels = np.array([candidate[c.name] for c in SPACE], dtype=float) - 1
    return float(np.log1p(WORTH @ levels))


def run(strategy: Strategy, evaluations: int, seed: int) -> list[Record]:
    return nw.search(
        SPACE,
        lambda c: {"quality": quality(c)},
        {"quality": "max", "cost": "min"},
        exact=cost,
        strategy=strategy,
        evaluations=evaluations,
        seed=seed,
    )


def hypervolume(records: list[Record]) -> float:
    """Of quality above 0 and cost below 72, by a sweep."""
    points = sorted((r.values["cost"], r.values["quality"]) for r in nw.front(records))
    area, height = 0.0, 0.0
    for low, top in points:
        area += (72 - low) * max(top - height, 0)
        height = max(height, top)
    return area


def test_guided_beats_random_at_the_same_budget() -> None:
    strategy = Guided(population=30, generations=5)
    guided = [hypervolume(run(strategy, 50, seed)) for seed in range(3)]
    random = [hypervolume(run(Random(), 50, seed)) for seed in range(5)]
    assert np.median(guided) > max(random), (guided, random)


def test_nsga2_improves_and_beats_random() -> None:
    runs = [run(Nsga2(batch=20, population=20), 200, seed) for seed in range(3)]
    early = [hypervolume(r[:40]) for r in runs]
    late = [hypervolume(r) for r in runs]
    assert all(b > a for a, b in zip(early, late, strict=True))
    assert np.median(late) > np.median([hypervolume(run(Random(), 200, seed)) for seed in range(3)])
    children = [np.mean([quality(r.candidate) - r.values["cost"] / 24 for r in x]) for x in (runs[0][2:20],)]
    assert np.mean([quality(r.candidate) - r.values["cost"] / 24 for r in runs[0][-40:]]) > children[0]


def peel(points: np.ndarray) -> np.ndarray:
    """Ranks by the definition: repeatedly take away what nothing dominates."""
    ranks = np.full(len(points), -1)
    rank = 0
    while (ranks < 0).any():
        left = np.flatnonzero(ranks < 0)
        front = [
            i for i in left if not any(np.all(points[j] <= points[i]) and np.any(points[j] < points[i]) for j in left)
        ]
        ranks[front] = rank
        rank += 1
    return ranks


@given(
    st.integers(1, 3).flatmap(
        lambda m: st.lists(st.tuples(*[st.integers(0, 5)] * m, st.sampled_from([0, 0, 0, 0.5, 2])), max_size=25)
    ),
    st.integers(1, 12),
)
def test_survivors_are_those_of_a_brute_force_sort(rows: list[tuple[float, ...]], survivors: int) -> None:
    space = Space([Choice("i", tuple(range(30)))])
    candidates = [space.candidate({"i": i}) for i in range(len(rows))]
    table = np.array(rows, dtype=float).reshape(len(rows), len(rows[0]) if rows else 3)
    points, violation = table[:, :-1], table[:, -1]
    parents = Parents(candidates, points, violation, survivors)
    kept = [int(c["i"]) for c in parents.candidates]  # type: ignore[arg-type]
    assert len(set(kept)) == len(kept) == len(parents) == min(survivors, len(rows))
    assert np.array_equal(parents.losses, points[kept])
    feasible = np.flatnonzero(violation == 0)
    merit = np.empty(len(rows))  # rank among the feasible, then by violation
    merit[feasible] = peel(points[feasible])
    merit[violation > 0] = 1000 + violation[violation > 0]
    assert sorted(merit[kept]) == sorted(merit)[: len(kept)]


def test_parents_of_a_history_leave_out_what_failed_and_prefer_what_is_feasible() -> None:
    space = Space([Choice("i", tuple(range(6)))])
    problem = Problem(space, (Metric("q", direction="max"),), (Limit("q", "<=", 3.0),))
    history = [Record(space.candidate({"i": i}), {"q": Measurement(float(i))}) for i in range(5)]
    history.append(Record(space.candidate({"i": 5}), {"q": Measurement(99.0)}, "failed"))
    history[0] = Record(space.candidate({"i": 0}))  # cut short: no objective
    parents = Parents.of(problem, history, 10)
    assert {c["i"] for c in parents.candidates} == {1, 2, 3, 4}
    assert parents.candidates[-1]["i"] == 4
    assert {c["i"] for c in Parents.of(problem, history, 1).candidates} == {3}


@pytest.mark.parametrize("seed", range(3))
def test_children_are_legal_and_mutants_differ(seed: int) -> None:
    space = Space(
        [Choice("d", (1, 2)), Choice("a", (1, 2, 3), when={"d": 2}), Choice("b", (7,)), Choice("c", (True, False))]
    )
    rng = np.random.default_rng(seed)
    for one, other in product(space.enumerate(), repeat=2):
        child = cross(space, one, other, rng)
        assert space.candidate(child) == child
        assert all(child[name] in {p[name] for p in (one, other) if name in p} for name in child if name != "a")
        if one == other:
            assert child == one
        mutant = mutate(space, one, rng)
        assert space.candidate(mutant) == mutant != one


def test_mutation_reaches_every_option() -> None:
    space = Space([Choice("a", (1, 2, 3, 4, 5))])
    rng = np.random.default_rng(0)
    for start in range(1, 6):
        met = {mutate(space, space.candidate({"a": start}), rng)["a"] for _ in range(200)}
        assert met == {1, 2, 3, 4, 5} - {start}
