"""What every strategy promises, over spaces, objectives, limits and histories of every kind."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pytest

from netwright.core.candidate import Candidate
from netwright.core.limits import Limit
from netwright.core.metric import Measurement, Metric
from netwright.core.record import Record, Status
from netwright.core.space import Choice, Space
from netwright.strategies.base import Problem, Strategy, ends
from netwright.strategies.evolution import Nsga2
from netwright.strategies.guided import Guided
from netwright.strategies.random import Random

STRATEGIES = (Random(), Nsga2(batch=6, population=8), Guided(batch=4, start=6, population=18, generations=3))
EAGER = (Random(), Nsga2(), Guided())

each_strategy = pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: type(s).__name__)


def conditional() -> Space:
    return Space(
        [
            Choice("depth", (1, 2, 3)),
            Choice("w1", (8, 16, 32)),
            Choice("w2", (8, 16, 32), when={"depth": (2, 3)}),
            Choice("k2", (3, 5), when=lambda c: c["depth"] >= 2 and c["w2"] > 8),
            Choice("w3", (8, 16, 32), when={"depth": 3}),
            Choice("pool", ("max", "mean", None)),
        ]
    )


SPACES: dict[str, Callable[[], Space]] = {
    "conditional": conditional,
    "tiny": lambda: Space([Choice("a", (1, 2, 3)), Choice("b", (1, 2)), Choice("c", (1, 2, 3), when={"b": 2})]),
    "single": lambda: Space([Choice("only", tuple(range(1, 12)))]),
    "rigid": lambda: Space([Choice("fixed", (1,)), Choice("a", (1, 2, 3, 4, 5)), Choice("none", (None,))]),
    "large": lambda: Space([Choice(f"k{i:02}", (1, 2, 3, 4)) for i in range(30)]),
}
METRICS = (Metric("quality", direction="max"), Metric("cost", exact=True), Metric("heat"))


def numbers(candidate: Mapping[str, Any]) -> list[float]:
    return [float(v) if isinstance(v, int | float) else 1.0 for v in candidate.values()]


def cost(candidate: Candidate) -> dict[str, float]:
    return {"cost": sum(numbers(candidate))}


def measured(candidate: Candidate, status: Status = "ok", constant: bool = False) -> Record:
    found = numbers(candidate)
    values = {"quality": sum(np.sqrt(found)), "cost": sum(found), "heat": sum(found) / len(found) + len(found)}
    if constant:
        values |= {"quality": 1.0, "heat": 0.0}
    if status == "failed":
        values = {"cost": values["cost"]}
    return Record(candidate, {k: Measurement(float(v)) for k, v in values.items()}, status, "why" * (status != "ok"))


def history_of(space: Space, size: int, kind: str = "ok") -> list[Record]:
    """Distinct records; of the mixed kind every third is failed or infeasible."""
    rng = np.random.default_rng(5)
    drawn = dict.fromkeys([space.smallest, space.largest, *(space.sample(rng) for _ in range(4 * size))])
    statuses: tuple[Status, ...] = {"mixed": ("ok", "failed", "infeasible"), "failed": ("failed",)}.get(kind, ("ok",))
    return [
        measured(c, statuses[i % len(statuses)], kind == "constant")
        for i, c in enumerate(list(drawn)[: min(size, space.size - 3)])
    ]


@each_strategy
@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize(
    "objectives, kind",
    [(1, "ok"), (2, "ok"), (3, "ok"), (2, "mixed"), (3, "mixed"), (2, "failed"), (1, "constant"), (2, "constant")],
)
def test_what_is_asked_is_new_distinct_legal_and_within_limits(
    strategy: Strategy, name: str, objectives: int, kind: str
) -> None:
    space = SPACES[name]()
    middle = (cost(space.smallest)["cost"] + cost(space.largest)["cost"]) / 2
    for size in (3, 14) if kind != "ok" else (0, 14):
        history = history_of(space, size, kind)
        for limits in ((), (Limit("cost", "<=", middle), Limit("heat", "<=", 2.0))):
            problem = Problem(space, METRICS[:objectives], limits, cost, seed=1)
            asked = strategy.ask(problem, history, 5)
            assert 0 < len(asked) <= 5 or space.size < 20, (size, limits)
            assert len(set(asked)) == len(asked)
            assert not {r.candidate for r in history} & set(asked)
            for candidate in asked:
                assert space.candidate(candidate) == candidate
                assert problem.allows(candidate)


@each_strategy
@pytest.mark.parametrize("size", [0, 3, 30])
def test_a_proposal_is_a_function_of_seed_and_history(strategy: Strategy, size: int) -> None:
    space = SPACES["large"]()
    history = history_of(space, size)
    propose = partial(strategy.ask, history=history, n=6)
    problem = Problem(space, METRICS[:2], (), cost, seed=4)
    first = propose(problem)
    before = np.random.get_state()
    np.random.seed(123)  # a strategy that looks at the global generator is found out
    try:
        state = np.random.get_state()
        assert propose(problem) == first
        assert all(np.array_equal(a, b) for a, b in zip(state, np.random.get_state(), strict=True))
    finally:
        np.random.set_state(before)
    assert propose(Problem(SPACES["large"](), METRICS[:2], (), cost, seed=4)) == first
    assert propose(Problem(space, METRICS[:2], (), cost, seed=5)) != first
    assert type(strategy)(**vars(strategy)).ask(problem, history, 6) == first


@each_strategy
@pytest.mark.parametrize("n", [0, 1, 3])
def test_at_most_n(strategy: Strategy, n: int) -> None:
    space = SPACES["large"]()
    for size in (0, 1, 20):
        assert len(strategy.ask(Problem(space, METRICS, (), cost), history_of(space, size), n)) == n


@pytest.mark.parametrize("strategy", EAGER, ids=lambda s: type(s).__name__)
def test_a_small_space_is_emptied_quickly(strategy: Strategy) -> None:
    space = Space([Choice(name, (1, 2, 3)) for name in "abc"] + [Choice("d", (4, 5), when={"a": 3})])
    problem = Problem(space, METRICS[:2], (), cost)
    history: list[Record] = []
    begin = time.process_time()
    while asked := strategy.ask(problem, history, 4):
        history += map(measured, asked)
        assert time.process_time() - begin < 5, f"{len(history)} of {space.size} after 5 s"
    assert {r.candidate for r in history} == set(space.enumerate())


@pytest.mark.parametrize("strategy", EAGER, ids=lambda s: type(s).__name__)
def test_a_narrow_limit_that_is_used_up_is_given_up_quickly(strategy: Strategy) -> None:
    space = SPACES["large"]()
    limit = Limit("cost", "<=", cost(space.smallest)["cost"] + 0.5)  # kept by the smallest alone
    history = history_of(space, 25)
    begin = time.process_time()
    assert strategy.ask(Problem(space, METRICS[:2], (limit,), cost), history, 8) == []
    assert time.process_time() - begin < 3


@each_strategy
def test_the_last_of_some_hundred_is_found_one_at_a_time(strategy: Strategy) -> None:
    space = Space([Choice("a", tuple(range(30))), Choice("b", tuple(range(30)))])
    everyone = list(space.enumerate())
    for missing in (everyone[7], everyone[450], everyone[891]):
        history = [measured(c) for c in everyone if c != missing]
        assert strategy.ask(Problem(space, METRICS[:2], (), cost), history, 1) == [missing]


@each_strategy
@pytest.mark.parametrize("op, bound", [("<=", 31.0), (">=", 118.0), ("<", 32.5), (">", 117.0)])
def test_narrow_limits_at_either_end_are_reached(strategy: Strategy, op: str, bound: float) -> None:
    space = SPACES["large"]()  # costs of 30 to 120, nearly all near 75
    problem = Problem(space, METRICS[:2], (Limit("cost", op, bound),), cost)
    for history in ([], history_of(space, 12)):
        known = len(ends(problem, history, 2))
        asked = strategy.ask(problem, history, 6)
        assert len(asked) > known, "nothing but the end of the space"
        assert all(problem.allows(c) for c in asked)


@each_strategy
@pytest.mark.parametrize("end", ["smallest", "largest"])
def test_an_end_that_a_looser_limit_admits_late_is_still_asked_for(strategy: Strategy, end: str) -> None:
    space = SPACES["tiny"]()
    left = getattr(space, end)
    history = [measured(c) for c in space.enumerate() if c != left]
    larger = SPACES["single"]()
    assert strategy.ask(Problem(space, METRICS[:2], (), cost), history, 3) == [left]
    left = getattr(larger, end)
    history = [measured(c) for c in larger.enumerate() if c != left]
    assert strategy.ask(Problem(larger, METRICS[:2], (), cost), history, 3) == [left]


@each_strategy
def test_metrics_that_are_all_exact_need_no_predictor(strategy: Strategy) -> None:
    space = SPACES["large"]()
    problem = Problem(space, (METRICS[1],), (), cost)
    history = [Record(r.candidate, {"cost": r.measurements["cost"]}) for r in history_of(space, 20)]
    assert len(strategy.ask(problem, history, 4)) == 4
