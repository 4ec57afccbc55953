"""LINAS, ConcurrentNAS and WeakNAS: what they propose, and that their predictions lead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from netwright.core.candidate import Candidate
from netwright.core.enumerated import EnumeratedSpace
from netwright.core.limits import Limit
from netwright.core.metric import Measurement, Metric
from netwright.core.record import Record
from netwright.core.space import Choice, Space
from netwright.strategies.base import Problem, Strategy, of_each
from netwright.strategies.linas import ConcurrentNas, Linas, WeakSurrogates
from netwright.strategies.random import Random
from netwright.strategies.weaknas import WeakNas

STRATEGIES = (Linas(batch=12, generations=15), ConcurrentNas(batch=8, generations=10), WeakNas(6, 12, 400, 30))
QUALITY, COST = Metric("quality", direction="max"), Metric("cost", exact=True)

each_strategy = pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: type(s).__name__)


def stages() -> Space:
    """Five stages of one to three blocks with a width each: inactive choices abound."""
    choices = [Choice(f"d{s}", (1, 2, 3)) for s in range(5)]
    for s in range(5):
        choices += [Choice(f"w{s}{b}", (1, 2, 4), {f"d{s}": tuple(range(b + 1, 4))}) for b in range(3)]
    return Space(choices)


def cost(candidate: Candidate) -> dict[str, float]:
    return {"cost": float(sum(v for name, v in candidate.items() if name[0] == "w"))}


def measured(candidate: Candidate) -> Record:
    """Widths help less and less, and early stages more than late ones."""
    quality = sum(np.sqrt(v) / (1 + int(name[1])) for name, v in candidate.items() if name[0] == "w")  # type: ignore[arg-type]
    values = {"quality": float(quality), **cost(candidate)}
    return Record(candidate, {k: Measurement(v) for k, v in values.items()})


def problem_of(space: Space, seed: int = 0, limits: tuple[Limit, ...] = ()) -> Problem:
    return Problem(space, (QUALITY, COST), limits, of_each(cost), seed)


def searched(strategy: Strategy, problem: Problem, evaluations: int) -> list[Record]:
    history: list[Record] = []
    while len(history) < evaluations:
        asked = strategy.ask(problem, history, min(strategy.batch, evaluations - len(history)))
        assert asked
        history += map(measured, asked)
    return history


def volume(history: list[Record]) -> float:
    import moocore

    points = np.array([[-r.values["quality"], r.values["cost"]] for r in history])
    return float(moocore.hypervolume(points, ref=[0.0, 61.0]))


@each_strategy
@pytest.mark.parametrize("size, n", [(0, 5), (12, 5), (40, 5), (40, 30)])
def test_what_is_asked_is_new_distinct_within_limits_and_repeatable(strategy: Strategy, size: int, n: int) -> None:
    space = stages()
    rng = np.random.default_rng(3)
    history = [measured(c) for c in dict.fromkeys(space.sample(rng) for _ in range(size))]
    problem = problem_of(space, limits=(Limit("cost", "<=", 30.0), Limit("quality", ">=", 5.0)))
    asked = strategy.ask(problem, history, n)
    assert len(set(asked)) == len(asked) == n
    assert not {r.candidate for r in history} & set(asked)
    assert all(space.candidate(c) == c and problem.allows(c) for c in asked)
    assert strategy.ask(problem, history, n) == asked


@each_strategy
def test_each_round_and_each_seed_has_dice_of_its_own(strategy: Strategy) -> None:
    history = searched(Random(), problem_of(stages()), 30)
    asked = strategy.ask(problem_of(stages(), 0), history, 4)
    assert asked != strategy.ask(problem_of(stages(), 1), history, 4)
    assert asked != strategy.ask(problem_of(stages(), 0), [*history, history[0]], 4)


@each_strategy
def test_predictions_lead(strategy: Strategy) -> None:
    found = [volume(searched(strategy, problem_of(stages(), seed), 60)) for seed in range(2)]
    chance = [volume(searched(Random(), problem_of(stages(), seed), 60)) for seed in range(2)]
    assert min(found) > 1.03 * max(chance)


@each_strategy
def test_a_small_space_is_emptied(strategy: Strategy) -> None:
    space = Space([Choice("w0", (1, 2, 3)), Choice("w1", (1, 2, 3)), Choice("w2", (4, 5), when={"w0": 3})])
    history: list[Record] = []
    while asked := strategy.ask(problem_of(space), history, 4):
        history += map(measured, asked)
    assert {r.candidate for r in history} == set(space.enumerate())


@each_strategy
def test_only_listed_candidates_are_met(strategy: Strategy) -> None:
    choices = [Choice(f"w{i}", (1, 2, 3, 4)) for i in range(5)]
    rng = np.random.default_rng(0)
    rows = {tuple(row): dict(zip("01234", row, strict=True)) for row in rng.integers(1, 5, (900, 5)).tolist()}
    space = EnumeratedSpace(choices, [{f"w{i}": v for i, v in row.items()} for row in rows.values()])
    known = set(space.enumerate())

    def looked_up(candidate: Candidate) -> dict[str, float]:
        assert candidate in known
        return cost(candidate)

    problem = Problem(space, (QUALITY, COST), (), of_each(looked_up))
    assert set(strategy.ask(problem, searched(Random(), problem, 20), 5)) <= known


@each_strategy
@pytest.mark.parametrize("kind", ["failed", "constant"])
def test_what_teaches_nothing_is_no_obstacle(strategy: Strategy, kind: str) -> None:
    history = searched(Random(), problem_of(stages()), 30)
    if kind == "failed":
        history = [Record(r.candidate, {}, "failed", "why") for r in history]
    else:
        history = [Record(r.candidate, r.measurements | {"quality": Measurement(2.0)}) for r in history]  # type: ignore[operator]
    assert len(strategy.ask(problem_of(stages()), history, 5)) == 5


@each_strategy
@pytest.mark.parametrize("objectives", [(QUALITY,), (COST,), (QUALITY, COST, Metric("heat"), Metric("size"))])
def test_any_number_of_objectives(strategy: Strategy, objectives: tuple[Metric, ...]) -> None:
    space = stages()
    history = [
        Record(r.candidate, {**r.measurements, "heat": r.measurements["cost"], "size": Measurement(i % 3)})
        for i, r in enumerate(searched(Random(), problem_of(space), 30))
    ]
    assert len(strategy.ask(Problem(space, objectives, (), of_each(cost)), history, 5)) == 5


def test_exact_metrics_are_computed_and_never_predicted() -> None:
    space = stages()
    problem = problem_of(space)
    history = searched(Random(), problem, 40)
    lies = [Record(r.candidate, {**r.measurements, "cost": Measurement(0.0)}) for r in history]
    predicted = WeakSurrogates.fit(problem, lies, ("ridge", "svr"))
    assert predicted is not None
    some = [space.sample(np.random.default_rng(i)) for i in range(20)]
    losses, violation = predicted(predicted.encoding.of(some))
    assert losses[:, 1].tolist() == [cost(c)["cost"] for c in some]
    assert not violation.any()
    true = [-measured(c).values["quality"] for c in some]
    assert np.corrcoef(losses[:, 0], true)[0, 1] > 0.9


@pytest.mark.parametrize(
    "effect, better",
    [(lambda x: x.sum(axis=1), "Ridge"), (lambda x: np.prod(x - 1.0, axis=1), "SVR")],
    ids=["additive", "interacting"],
)
def test_the_regressor_that_predicts_better_is_taken(effect: Callable[[Any], Any], better: str) -> None:
    space = Space([Choice(name, (0, 1, 2)) for name in "abc"])
    everyone = list(space.enumerate())
    rng = np.random.default_rng(0)
    values = effect(np.array([[float(v) for v in c.values()] for c in everyone]))  # type: ignore[arg-type]
    history = [Record(c, {"heat": Measurement(float(v))}) for c, v in zip(everyone, values, strict=True)]
    picked = [history[i] for i in rng.permutation(len(history))]
    predicted = WeakSurrogates.fit(Problem(space, (Metric("heat"),)), picked, ("ridge", "svr"))
    assert predicted is not None and type(predicted.models["heat"]._model).__name__ == better
