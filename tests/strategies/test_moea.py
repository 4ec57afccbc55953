"""The evolutionary strategies and local search: functions of the records, for every space, better than chance."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netwright.core.candidate import Candidate
from netwright.core.enumerated import EnumeratedSpace
from netwright.core.errors import NetwrightError
from netwright.core.front import nondominated
from netwright.core.limits import Limit
from netwright.core.metric import Measurement, Metric
from netwright.core.record import Record
from netwright.core.space import Choice, Space
from netwright.strategies.aging_evolution import AgingEvolution
from netwright.strategies.base import Problem, Strategy, of_each
from netwright.strategies.cmaes import CmaEs, _Distribution
from netwright.strategies.evolution import Measured, Nsga2
from netwright.strategies.geometry import geometry, survive_by_geometry
from netwright.strategies.local_search import LocalSearch, neighbours
from netwright.strategies.moea import AgeMoea, CTaea, Ga, MoeaD, Nsga3, UNsga3
from netwright.strategies.random import Random
from netwright.strategies.replay import directions, pymoo_survival, replay

ANY = (
    Nsga2(population=8),
    UNsga3(population=8),
    AgingEvolution(population=8, sample=3),
    LocalSearch(batch=4, start=6),
)
ONE = (Ga(population=8), CmaEs(population=8))
SEVERAL = (Nsga3(population=8), AgeMoea(population=8), MoeaD(population=8), CTaea(population=8))
KINDS = ("ok", "mixed", "failed", "infeasible", "cut short", "constant")
METRICS = (
    Metric("quality", direction="max"),
    Metric("cost", exact=True),
    Metric("heat"),
    Metric("noise", direction="max"),
)
LIMIT = Limit("heat", "<=", 2.2)


def conditional() -> Space:
    return Space(
        [
            Choice("depth", (1, 2, 3)),
            Choice("w1", (8, 16, 32)),
            Choice("w2", (8, 16, 32), when={"depth": (2, 3)}),
            Choice("k2", (3, 5), when=lambda c: c["depth"] >= 2 and c["w2"] > 8),
            Choice("w3", (8, 16, 32), when={"depth": 3}),
            Choice("pool", ("max", "mean", None)),
            Choice("fixed", (1,)),
        ]
    )


def listed() -> Space:
    choices = [Choice(name, (1, 2, 3, 4)) for name in "abcd"]
    rng = np.random.default_rng(3)
    return EnumeratedSpace(choices, {c.key: c for c in (Space(choices).sample(rng) for _ in range(80))}.values())


def large(choices: int = 24) -> Space:
    return Space([Choice(f"k{i:02}", (1, 2, 3, 4)) for i in range(choices)])


SPACES = {
    "conditional": conditional(),
    "listed": listed(),
    "large": large(),
    "one": Space([Choice("a", (1,))]),
    "two": Space([Choice("a", (1, 2)), Choice("b", ("x",))]),
}


def values(candidate: Candidate) -> dict[str, float]:
    found = [float(v) if isinstance(v, int | float) else 1.0 for v in candidate.values()]
    return {
        "quality": sum(np.sqrt(found)),
        "cost": sum(found),
        "heat": sum(found) / len(found),
        "noise": float(int(candidate.id, 16) % 97),
    }


def cost(candidate: Candidate) -> dict[str, float]:
    return {"cost": values(candidate)["cost"]}


def measured(candidate: Candidate, kind: str = "ok", objectives: Sequence[Metric] = METRICS) -> Record:
    found = dict.fromkeys(values(candidate), 1.0) if kind == "constant" else values(candidate)
    if kind == "infeasible":
        found["heat"] += 3
    if kind == "cut short":
        found = {"heat": found["heat"] + 3}
    if kind == "failed":
        found = {}
    status = {"failed": "failed", "infeasible": "infeasible", "cut short": "infeasible"}.get(kind, "ok")
    return Record(candidate, {k: Measurement(v) for k, v in found.items()}, status, "why")  # type: ignore[arg-type]


@cache
def history_of(space: Space, size: int, kind: str = "ok") -> list[Record]:
    rng = np.random.default_rng(5)
    drawn = dict.fromkeys([space.smallest, space.largest, *(space.sample(rng) for _ in range(3 * size))])
    kinds = KINDS[:5] if kind == "mixed" else (kind,)
    return [measured(c, kinds[i % len(kinds)]) for i, c in enumerate(list(drawn)[:size])]


def supported(objectives: int) -> tuple[Strategy, ...]:
    return (*ANY, *(ONE if objectives == 1 else SEVERAL))


EACH = [pytest.param(s, m, id=f"{type(s).__name__}-{m}") for m in (1, 3, 4) for s in supported(m)]
each = pytest.mark.parametrize("strategy, objectives", EACH)
some = pytest.mark.parametrize("strategy, objectives", [p for p in EACH if p.values[1] != 4])


@each
@pytest.mark.parametrize("name", SPACES)
def test_what_is_asked_is_new_distinct_legal_and_within_limits(strategy: Strategy, objectives: int, name: str) -> None:
    space = SPACES[name]
    middle = (cost(space.smallest)["cost"] + cost(space.largest)["cost"]) / 2
    problem = Problem(space, METRICS[:objectives], (LIMIT, Limit("cost", "<=", middle)), of_each(cost), seed=1)
    allowed = {c for c in space.enumerate() if problem.allows(c)} if space.size < 1000 else None
    for kind, size in (("ok", 0), ("ok", 1), *((kind, 21) for kind in KINDS[: space.size])):
        history = history_of(space, size, kind)
        asked = strategy.ask(problem, history, 5)
        known = {r.candidate for r in history}
        assert len(asked) == (5 if allowed is None else min(5, len(allowed - known))), (kind, size)
        assert len(set(asked)) == len(asked) and not known & set(asked)
        assert all(space.candidate(c) == c and problem.allows(c) for c in asked)


@some
def test_an_ask_is_a_function_of_problem_and_records(strategy: Strategy, objectives: int) -> None:
    for kind in ("ok", "mixed"):
        history = history_of(SPACES["large"], 45, kind)
        problem = Problem(SPACES["large"], METRICS[:objectives], (LIMIT,), of_each(cost), seed=4)
        strategy.ask(problem, history, 1)  # what it imports may have filters for warnings of its own
        filters, dice = list(warnings.filters), np.random.get_state()[1].copy()  # type: ignore[index]
        first = [strategy.ask(problem, history[:size], 6) for size in (20, 33, 45)]
        assert warnings.filters == filters, "warnings were switched off for good"
        assert np.array_equal(np.random.get_state()[1], dice), "NumPy's global dice were used"  # type: ignore[index]
        np.random.seed(7)
        again = [type(strategy)(**vars(strategy)).ask(problem, tuple(history[:size]), 6) for size in (45, 33, 20)]
        assert again[::-1] == first
        fresh = Problem(large(), METRICS[:objectives], (LIMIT,), of_each(cost), seed=4)
        assert strategy.ask(fresh, history_of(fresh.space, 45, kind), 6) == first[-1]
        assert strategy.ask(replace(problem, seed=5), history, 6) != first[-1]


@some
def test_a_small_space_is_emptied_to_the_last(strategy: Strategy, objectives: int) -> None:
    for name in ("one", "two", "listed"):
        problem = Problem(SPACES[name], METRICS[:objectives], (LIMIT,), of_each(cost))
        history: list[Record] = []
        while asked := strategy.ask(problem, history, 7):
            history += [measured(c) for c in asked]
            assert len(history) <= SPACES[name].size
        assert {r.candidate for r in history} == set(SPACES[name].enumerate())


@some
def test_the_unit_of_an_objective_does_not_matter(strategy: Strategy, objectives: int) -> None:
    def scaled(record: Record) -> Record:
        changed = record.measurements | {"quality": Measurement(record.values["quality"] * 2.0**20)}  # type: ignore[operator]
        return replace(record, measurements=changed)

    problem = Problem(SPACES["large"], METRICS[:objectives], (), of_each(cost))
    history = history_of(problem.space, 40)
    assert strategy.ask(problem, history, 6) == strategy.ask(problem, [scaled(r) for r in history], 6)


@some
def test_what_is_still_being_measured_is_not_asked_for_again(strategy: Strategy, objectives: int) -> None:
    for name, size in (("large", 30), ("listed", 40)):
        problem = Problem(SPACES[name], METRICS[:objectives], (LIMIT,), of_each(cost))
        history = history_of(problem.space, size)
        out: tuple[Candidate, ...] = ()
        for _ in range(3):
            asked = strategy.ask(replace(problem, pending=out), history, 6)
            assert len(set(asked)) == 6 and not set(asked) & {*out, *(r.candidate for r in history)}
            out += tuple(asked)


@pytest.mark.parametrize("strategy, objectives, words", [
    (Ga(), 2, "Ga is for exactly one objective, and 2 are given (quality, cost); use Nsga2 or Guided"),
    (CmaEs(), 3, "CmaEs is for exactly one objective, and 3 are given (quality, cost, heat); use Nsga2 or Guided"),
    (Nsga3(), 1, "Nsga3 is for two or more objectives, and 1 is given (quality); use UNsga3 or Ga"),
    *((s, 1, f"{type(s).__name__} is for two or more objectives, and 1 is given (quality); use Ga")
      for s in (AgeMoea(), MoeaD(), CTaea())),
])  # fmt: skip
def test_other_numbers_of_objectives_are_refused_at_the_first_ask(
    strategy: Strategy, objectives: int, words: str
) -> None:
    with pytest.raises(NetwrightError) as error:
        strategy.ask(Problem(SPACES["two"], METRICS[:objectives], (), of_each(cost)), [], 1)
    assert str(error.value) == words


WORTH = np.random.default_rng(0).lognormal(0, 1.2, 20)


def benefit(candidate: Candidate) -> dict[str, float]:
    levels = np.array(list(candidate.values()), dtype=float)
    quality = float(np.log1p(WORTH @ (levels - 1)))
    return {"quality": quality, "cost": float(levels.sum()), "gain": quality - 0.05 * float(levels.sum())}


def searched(strategy: Strategy, problem: Problem, evaluations: int) -> np.ndarray:
    """The losses found, (evaluations, objectives)."""
    history: list[Record] = []
    while len(history) < evaluations:
        for candidate in strategy.ask(problem, history, min(strategy.batch, evaluations - len(history))):
            history.append(Record(candidate, {k: Measurement(v) for k, v in benefit(candidate).items()}))
    return np.array([problem.losses(r) for r in history])


def area(points: np.ndarray) -> float:
    """Dominated by quality above 0 and cost below 80, by a sweep."""
    total, height = 0.0, 0.0
    for loss, price in sorted(points.tolist(), key=lambda p: p[1]):
        total += (80 - price) * max(-loss - height, 0)
        height = max(height, -loss)
    return total


GAIN = Metric("gain", direction="max")


@cache
def by_chance(objectives: tuple[Metric, ...]) -> list[float]:
    return [merit(searched(Random(), toy(objectives, seed), 120)) for seed in range(2)]


def toy(objectives: tuple[Metric, ...], seed: int) -> Problem:
    return Problem(large(20), objectives, (), of_each(lambda c: {"cost": benefit(c)["cost"]}), seed)


def merit(losses: np.ndarray) -> float:
    return area(losses) if losses.shape[1] == 2 else -float(losses.min())


@pytest.mark.parametrize(
    "strategy, objectives",
    [(s, METRICS[:2]) for s in (*ANY, *SEVERAL)] + [(s, (GAIN,)) for s in (*ANY, *ONE)],
    ids=lambda x: type(x).__name__ if isinstance(x, Strategy) else len(x),
)
def test_the_best_is_found_sooner_than_by_chance(strategy: Strategy, objectives: tuple[Metric, ...]) -> None:
    own = {LocalSearch: strategy, AgingEvolution: AgingEvolution(population=30, sample=10)}
    strategy = own[type(strategy)] if type(strategy) in own else type(strategy)()
    found = [merit(searched(strategy, toy(objectives, seed), 120)) for seed in range(2)]
    assert np.mean(found) > max(by_chance(objectives)), (found, by_chance(objectives))


ROWS = st.integers(1, 3).flatmap(
    lambda m: st.lists(st.tuples(*[st.integers(0, 6)] * m, st.sampled_from([0, 0, 0, 0.5, 2])), min_size=1, max_size=40)
)


def table(rows: Iterable[tuple[float, ...]]) -> Measured:
    points = np.array(list(rows), dtype=float)
    candidates = tuple(Candidate({"i": i}) for i in range(len(points)))
    return Measured(candidates, points[:, :-1], points[:, -1])


@given(ROWS)
def test_the_infeasible_have_a_place_each_and_scaling_keeps_the_order(rows: list[tuple[float, ...]]) -> None:
    found = table(rows)
    broken = np.flatnonzero(found.violation > 0)
    assert sorted(found.infeasibility_rank[broken]) == list(range(1, len(broken) + 1))
    assert not found.infeasibility_rank[found.violation == 0].any()
    assert all(
        found.violation[a] <= found.violation[b]
        for a in broken
        for b in broken
        if found.infeasibility_rank[a] < found.infeasibility_rank[b]
    )
    assert np.isfinite(found.scaled).all()
    assert np.array_equal(nondominated(found.scaled), nondominated(found.losses))
    able = found.violation == 0 if (found.violation == 0).any() else np.ones(len(rows), dtype=bool)
    front = found.scaled[able][nondominated(found.losses[able])]
    assert front.min(axis=0) == pytest.approx(0) and (front <= 1 + 1e-9).all()


@given(ROWS, st.integers(1, 7), st.integers(1, 7))
def test_replayed_survivors_are_the_best_of_all(rows: list[tuple[float, ...]], survivors: int, generation: int) -> None:
    from pymoo.algorithms.soo.nonconvex.ga import FitnessSurvival

    found = table([(row[0], row[-1]) for row in rows])
    kept = replay(found, generation, pymoo_survival(FitnessSurvival(), survivors, 1, 0))
    merit = np.lexsort([found.losses[:, 0], found.infeasibility_rank])
    order = np.argsort(merit)
    expected = sorted(zip(found.infeasibility_rank[merit], found.losses[merit, 0], strict=True))[:survivors]
    at = kept.get("at")
    assert len(order) == len(rows) and len(set(at)) == len(at)
    assert sorted(zip(found.infeasibility_rank[at], found.losses[at, 0], strict=True)) == expected


@given(ROWS, st.integers(1, 12))
def test_survival_by_geometry_keeps_better_ranks_before_worse(rows: list[tuple[float, ...]], survivors: int) -> None:
    found = table([(*row, row[-1]) if len(row) == 2 else row for row in rows])
    kept = replay(found, len(rows), lambda everyone, newcomers: survive_by_geometry(everyone, survivors))
    at = kept.get("at")
    assert len(set(at)) == len(at) == min(survivors, len(rows))
    rank, left, level = np.full(len(rows), np.inf), found.violation == 0, 0
    while left.any():
        front = np.flatnonzero(left)[nondominated(found.losses[left])]
        rank[front], left[front], level = level, False, level + 1
    merit = sorted(zip(found.infeasibility_rank, rank, strict=True))
    assert sorted((found.infeasibility_rank[i], rank[i]) for i in at) == [
        (b, r) for b, r in merit[: len(at)]
    ]  # fmt: skip


@pytest.mark.parametrize("objectives", [2, 3])
@pytest.mark.parametrize("power", [0.5, 1.0, 2.0, 4.0])
def test_the_curve_of_a_front_is_found_and_its_corners_survive(objectives: int, power: float) -> None:
    spread = directions(objectives, 60)
    spread = np.vstack([spread, np.full(objectives, 1 / objectives)])
    front = spread / (np.sum(spread**power, axis=1) ** (1 / power))[:, None]
    reach, found = geometry(front * [3.0, 200.0, 7.0][:objectives])
    assert found == pytest.approx(power, rel=0.02)
    assert reach == pytest.approx([3.0, 200.0, 7.0][:objectives], rel=1e-3)
    rows = table([(*p, 0.0) for p in front])
    kept = replay(rows, len(front), lambda everyone, newcomers: survive_by_geometry(everyone, 12)).get("F")
    assert (kept.max(axis=0) == pytest.approx(1)) and (kept.min(axis=0) == pytest.approx(0))
    apart = np.linalg.norm(kept[:, None] - kept, axis=2) + 9 * np.eye(12)
    assert apart.min() > 0.02


@pytest.mark.parametrize("objectives, most, expected", [(1, 20, 1), (2, 20, 20), (3, 20, 15), (4, 20, 20), (6, 4, 6)])
def test_directions_are_on_the_simplex(objectives: int, most: int, expected: int) -> None:
    spread = directions(objectives, most)
    assert spread.shape == (expected, objectives)
    assert spread.sum(axis=1) == pytest.approx(1) and (spread >= 0).all()


def apart(one: Candidate, other: Candidate) -> int:
    return sum(one[name] != other[name] for name in one)


def test_the_old_have_no_children_and_the_best_of_the_young_has() -> None:
    space = large(60)
    rng = np.random.default_rng(1)
    drawn = [space.smallest, space.largest, *(space.sample(rng) for _ in range(7))]
    quality = [99.0, 98.0, 97.0, 1.0, 2.0, 3.0, 5.0, 4.0, 0.0]
    history = [Record(c, {"quality": Measurement(q)}) for c, q in zip(drawn, quality, strict=True)]
    asked = AgingEvolution(population=4, sample=4).ask(Problem(space, METRICS[:1]), history, 8)
    assert all(1 <= apart(drawn[6], child) <= 8 for child in asked)
    beyond = replace(history[6], measurements={"quality": Measurement(5.0), "heat": Measurement(9.0)})
    asked = AgingEvolution(population=4, sample=4).ask(
        Problem(space, METRICS[:1], (LIMIT,)), [*history[:6], beyond, *history[7:]], 8
    )
    assert all(1 <= apart(drawn[7], child) <= 8 for child in asked)


def test_neighbours_differ_in_one_choice() -> None:
    space = SPACES["conditional"]
    everyone = set(space.enumerate())
    for one in everyone:
        around = neighbours(space, one)
        assert len(set(around)) == len(around) and set(around) <= everyone - {one}
        for other in around:
            changed = [name for name in one if name in other and one[name] != other[name]]
            assert len(changed) == 1
            assert all(other[name] == space[name].options[0] for name in other if name not in one)
        assert len(around) == sum(len(space[name].options) - 1 for name in one)
    rows = set(SPACES["listed"].enumerate())
    assert all(set(neighbours(SPACES["listed"], c)) <= rows - {c} for c in rows)


def test_a_climb_goes_from_the_best_to_a_top_and_then_elsewhere() -> None:
    space = large(12)
    problem = Problem(space, METRICS[1:2], (), seed=2)
    strategy = LocalSearch(batch=4, start=3)

    def rugged(candidate: Candidate) -> Record:
        return Record(candidate, {"cost": Measurement(sum(3.0 if v == 1 else float(v) for v in candidate.values()))})

    history = [rugged(c) for c in strategy.ask(problem, [], 4)]
    best = min(history, key=lambda r: r.values["cost"])
    climbed = False
    while best.values["cost"] > 24 or not {*neighbours(space, best.candidate)} <= {r.candidate for r in history}:
        asked = strategy.ask(problem, history, 4)
        assert set(asked) & set(neighbours(space, best.candidate))
        history += map(rugged, asked)
        climbed |= min(history, key=lambda r: r.values["cost"]) is not best
        best = min(history, key=lambda r: r.values["cost"])
        assert len(history) < 600
    assert climbed and best.values["cost"] == 24  # every choice at its best option
    away = strategy.ask(problem, history, 4)
    assert all(apart(c, best.candidate) > 1 for c in away)
    again = [*history, *map(rugged, away)]
    best = min(again[len(history) :], key=lambda r: r.values["cost"])
    assert set(strategy.ask(problem, again, 4)) <= set(neighbours(space, best.candidate)), "the next climb"


def test_several_objectives_are_climbed_from_every_member_of_the_front() -> None:
    space = large(12)
    problem = Problem(space, METRICS[:2], (), of_each(cost))
    history = history_of(space, 12)
    points = np.array([problem.losses(r) for r in history])
    front = [r.candidate for r, kept in zip(history, nondominated(points), strict=True) if kept]
    asked = LocalSearch(start=5).ask(problem, history, 2 * len(front))
    assert len(front) > 2
    assert all(sum(c in neighbours(space, member) for c in asked) >= 2 for member in front)


def test_a_choice_that_is_absent_moves_no_distribution() -> None:
    space = Space([Choice("a", (1, 2)), Choice("b", (1, 2, 3)), Choice("c", (1, 2, 3, 4), when={"a": 2})])
    distribution = _Distribution(space, 6, seed=0)
    shallow = [c for c in space.enumerate() if c["a"] == 1]
    for _ in range(5):
        distribution.tell((*shallow, *shallow), np.arange(6.0))
    assert np.asarray(distribution._learned.result.xfavorite)[2] == pytest.approx(0.5)
    assert np.mean([distribution.sample()["a"] == 1 for _ in range(100)]) > 0.8
    assert {distribution.sample().get("c") for _ in range(400)} >= {None, 2, 3}, "no neighbour gets out of reach"
