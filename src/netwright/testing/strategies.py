"""The contract of a strategy."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from ..core.candidate import Candidate
from ..core.enumerated import EnumeratedSpace
from ..core.errors import NetwrightError
from ..core.limits import Limit
from ..core.metric import Direction, Measurement, Metric
from ..core.record import Record
from ..core.space import Choice, Space
from ..strategies.base import LISTED, Problem, Strategy, of_each

Make = Callable[[], Strategy]

KINDS = ("ok", "noisy", "constant", "mixed", "failed", "infeasible", "cut short", "partly")
"""Of records: as they should be; with intervals; all alike; some of every kind; failed; beyond a limit; cut short by a
limit before the objectives were measured; with the first objective only."""
METRICS = (
    Metric("quality", direction="max"),
    Metric("cost", exact=True),
    Metric("heat"),
    Metric("wear", direction="max"),
)
WAYS: tuple[Direction, Direction] = ("min", "max")
FEW = 100
"""Candidates, beside those measured, that a strategy may ask hints of for four proposals."""
PATIENCE = 5.0
"""CPU seconds in which a strategy finds that there is nothing to ask for."""


def check_strategy(make: Make, objectives: Collection[int] = (1, 2, 3, 4)) -> None:
    """Check that proposals are functions of the records, new, distinct, legal, and do not end before the space does.

    It asks some 300 times, of histories of up to 30 records: give small settings.

    Args:
        make: a new strategy, with its settings.
        objectives: how many the strategy supports, of 1 to 4; for the others it must raise :class:`NetwrightError`.

    Raises:
        AssertionError: with what is wrong.
    """
    supported = sorted(objectives)
    _is_a_function_of_the_records(make, supported)
    _asks_for_what_is_new_and_legal(make, supported)
    _goes_on_to_the_last(make, supported)
    _knows_when_there_is_nothing(make, supported)
    _takes_advice_for_advice(make, supported)
    _asks_hints_of_few(make, supported)
    _resumes(make, supported)
    _says_what_it_does_not_support(make, [n for n in (1, 2, 3, 4) if n not in supported])


# -- what is searched --------------------------------------------------------------------------------------------


@cache
def _conditional() -> Space:
    """Depths, widths that depend on them, a predicate, options without an order, and a choice that is none."""
    return Space(
        [
            Choice("depth", (1, 2, 3)),
            Choice("w1", (8, 16, 32)),
            Choice("w2", (8, 16, 32), when={"depth": (2, 3)}),
            Choice("k2", (3, 5), when=lambda c: c["depth"] >= 2 and c["w2"] > 8),  # type: ignore[operator]
            Choice("w3", (8, 16, 32), when={"depth": 3}),
            Choice("pool", ("max", "mean", None)),
            Choice("fixed", (1,)),
        ]
    )


@cache
def _listed(rows: int) -> Space:
    choices = [Choice(name, (1, 2, 3, 4)) for name in "abcdefgh"]
    rng, free = np.random.default_rng(3), Space(choices)
    found = {c.key: c for c in (free.sample(rng) for _ in range(2 * rows))}
    return EnumeratedSpace(choices, list(found.values())[:rows])


@cache
def _small() -> Space:
    return Space([Choice(name, (1, 2, 3)) for name in "ab"] + [Choice("c", ("x", "y", "z"), when={"a": (2, 3)})])


@cache
def _vast() -> Space:
    """4 ** 50 candidates, about 10 ** 30."""
    return Space([Choice(f"k{i:02}", (1, 2, 3, 4)) for i in range(50)])


@cache
def _spaces() -> dict[str, Space]:
    return {
        "one candidate": Space([Choice("a", (1,))]),
        "two candidates": Space([Choice("a", (1, 2)), Choice("b", ("x",))]),
        "a few candidates": _small(),
        "one choice": Space([Choice("only", tuple(range(1, 40)))]),
        "conditions": _conditional(),
        "a list": _listed(60),
        "a long list": _listed(LISTED + 500),
        "10^30 candidates": _vast(),
    }


def _values(candidate: Candidate) -> dict[str, float]:
    found = [float(v) if isinstance(v, int | float) else 1.0 for v in candidate.values()]
    return {
        "quality": sum(v**0.5 for v in found),
        "cost": sum(found),
        "heat": sum(found) / len(found) + len(found),
        "wear": sum((7 * i + 3) * v for i, v in enumerate(found)) % 97,
    }


def _cost(candidate: Candidate) -> dict[str, float]:
    return {"cost": _values(candidate)["cost"]}


def _cost_in(space: Space) -> Callable[[Candidate], dict[str, float]]:
    """The exact metric, which only candidates of the space have, as rows of a table do."""

    def cost(candidate: Candidate) -> dict[str, float]:
        if isinstance(space, EnumeratedSpace):
            space.candidate(candidate)
        return _cost(candidate)

    return cost


def _measured(candidate: Candidate, kind: str = "ok") -> Record:
    values = _values(candidate)
    if kind == "constant":
        values |= {"quality": 1.0, "heat": 0.0, "wear": 0.0}
    if kind == "infeasible":
        values["heat"] += 1000
    if kind == "cut short":
        values = {"cost": values["cost"], "heat": values["heat"] + 1000}
    if kind == "partly":
        values = {"quality": values["quality"], "cost": values["cost"]}
    if kind == "failed":
        values = {"cost": values["cost"]}
    half = 0.1 + len(candidate.key) % 5 if kind == "noisy" else 0.0
    found = {name: Measurement(v, ci95=0.0 if name == "cost" else half) for name, v in values.items()}
    if kind == "failed":
        return Record(candidate, found, "failed", "the device went away")
    if kind in ("infeasible", "cut short"):
        return Record(candidate, found, "infeasible", "too hot")
    return Record(candidate, found)


@cache
def _history(space: Space, size: int, kind: str = "ok") -> tuple[Record, ...]:
    """Distinct records, at most all but two of the space."""
    rng = np.random.default_rng(5)
    drawn = list(dict.fromkeys([space.smallest, space.largest, *(space.sample(rng) for _ in range(4 * size))]))
    kinds = ("ok", "failed", "noisy", "infeasible", "cut short") if kind == "mixed" else (kind,)
    some = drawn[: min(size, max(space.size - 2, 0))]
    return tuple(_measured(c, kinds[i % len(kinds)]) for i, c in enumerate(some))


def _problem(space: Space, objectives: int, limits: Sequence[Limit] = (), seed: int = 1) -> Problem:
    return Problem(space, METRICS[:objectives], tuple(limits), of_each(_cost_in(space)), seed)


def _middle(space: Space) -> float:
    return (_cost(space.smallest)["cost"] + _cost(space.largest)["cost"]) / 2


# -- what is checked ---------------------------------------------------------------------------------------------


def _is_a_function_of_the_records(make: Make, supported: Sequence[int]) -> None:
    make().ask(_problem(_conditional(), supported[0]), _history(_conditional(), 30), 3)  # imports may draw numbers
    for objectives in supported[:2]:
        for size in (0, 3, 30):
            history = list(_history(_vast(), size))
            given = list(history)
            first = make().ask(_problem(_vast(), objectives), history, 5)
            assert history == given, "ask() must not change the history"
            asked, other = _with_another_seed(make, objectives, history)
            assert asked == first, (
                f"asked again with the same {size} records, a new strategy must propose the same, whatever the state "
                "of Python's and NumPy's global generators"
            )
            assert other != first, f"another seed must propose others ({size} records)"


def _with_another_seed(
    make: Make, objectives: int, history: Sequence[Record]
) -> tuple[list[Candidate], list[Candidate]]:
    """What is asked for while the global generators are elsewhere, and with another seed."""
    before, python = np.random.get_state(), random.getstate()
    try:
        np.random.seed(123)
        random.seed(123)
        state, own = np.random.get_state(legacy=False), random.getstate()
        strategy = make()
        strategy.ask(_problem(_conditional(), objectives), _history(_conditional(), 8), 3)  # leaves nothing behind
        asked = strategy.ask(_problem(_vast(), objectives), history, 5)
        now = np.random.get_state(legacy=False)
        assert str(state) == str(now), "NumPy's global generator must be left alone: use problem.rng(history)"
        assert own == random.getstate(), "Python's global generator must be left alone: use problem.rng(history)"
        return asked, strategy.ask(_problem(_vast(), objectives, seed=2), history, 5)
    finally:
        np.random.set_state(before)
        random.setstate(python)


def _asks_for_what_is_new_and_legal(make: Make, supported: Sequence[int]) -> None:
    for turn, (name, space) in enumerate(_spaces().items()):
        limits = (Limit("cost", "<=", _middle(space)), Limit("heat", "<=", _values(space.largest)["heat"]))
        cases = [(kind, supported[(turn + i) % len(supported)], 16) for i, kind in enumerate(KINDS)]
        cases += [("ok", objectives, turn % 2) for objectives in supported]
        for i, (kind, objectives, size) in enumerate(cases):
            history = _history(space, size, kind)
            problem = _problem(space, objectives)
            if (turn + i // len(supported)) % 2:
                pending = tuple(r.candidate for r in _history(space, size + 3)[len(history) :])
                problem = replace(problem, limits=limits, pending=pending)
            what = f"{name}, {objectives} objectives, {len(history)} records ({kind}), limits: {bool(problem.limits)}"
            _is_sound(make(), problem, history, 4, what)
    for n in (0, 1, 7):
        _is_sound(make(), _problem(_vast(), supported[0]), _history(_vast(), 20), n, f"{n} are wanted")
    costs = tuple(Metric(name, direction=way, exact=True) for name, way in zip("abcd", 2 * WAYS, strict=True))
    exact = Problem(_vast(), costs[: supported[0]], (), of_each(_costs))
    history = tuple(
        Record(r.candidate, {name: Measurement(v) for name, v in _costs(r.candidate).items()})
        for r in _history(_vast(), 20)
    )
    _is_sound(make(), exact, history, 4, "exact objectives only")


def _costs(candidate: Candidate) -> dict[str, float]:
    return dict(zip("abcd", _values(candidate).values(), strict=True))


def _is_sound(strategy: Strategy, problem: Problem, history: Sequence[Record], n: int, what: str) -> list[Candidate]:
    """Ask, and check what any proposal must be."""
    asked = strategy.ask(problem, history, n)
    known = set(problem.proposed(history))
    assert len(asked) <= n, f"{what}: {len(asked)} were asked for, {n} are wanted"
    assert len(set(asked)) == len(asked), f"{what}: the same candidate was asked for twice"
    assert not known & set(asked), f"{what}: what is measured or pending was asked for again"
    for candidate in asked:
        assert problem.space.candidate(candidate) == candidate, f"{what}: {candidate} is not in the space"
        assert problem.allows(candidate), f"{what}: {candidate} breaks a limit on an exact metric"
    if problem.space.size <= LISTED:
        left = sum(c not in known and problem.allows(c) for c in problem.space.enumerate())
        assert len(asked) == min(n, left), f"{what}: {len(asked)} were asked for, of {left} that are left"
    elif not problem.limits:
        assert len(asked) == n, f"{what}: {len(asked)} were asked for, {n} are wanted"
    return asked


def _goes_on_to_the_last(make: Make, supported: Sequence[int]) -> None:
    """With two proposals out at a time, whatever comes back."""
    for turn, kind in enumerate(("ok", "mixed", "constant", "failed")):
        objectives = supported[turn % len(supported)]
        for i, (name, space) in enumerate((("a few candidates", _small()), ("a list", _listed(24)))):
            limits = (Limit("cost", "<=", _middle(space)), Limit("heat", ">=", 0.0)) if (turn + i) % 2 else ()
            problem = _problem(space, objectives, limits)
            history: list[Record] = []
            out: tuple[Candidate, ...] = ()
            what = f"{name}, {objectives} objectives, {kind} records"
            begin = time.process_time()
            while asked := _is_sound(make(), replace(problem, pending=out), history, 3, what) or out:
                kinds = ("ok", "failed", "noisy", "infeasible") if kind == "mixed" else (kind,)
                history += [_measured(c, kinds[len(history) % len(kinds)]) for c in out]
                out = tuple(asked) if asked is not out else ()
            assert time.process_time() - begin < 10 * PATIENCE, f"{what}: the end took too long"
            allowed = {c for c in space.enumerate() if problem.allows(c)}
            assert {r.candidate for r in history} == allowed, f"{what}: the space was not used up"


def _knows_when_there_is_nothing(make: Make, supported: Sequence[int]) -> None:
    objectives = supported[0]
    for name, space in (("10^30 candidates", _vast()), ("conditions", _conditional()), ("a list", _listed(60))):
        least = min(_cost(c)["cost"] for c in (space.smallest, *(space.enumerate() if space.size < LISTED else ())))
        for history in ((), _history(space, 20)):
            begin = time.process_time()
            asked = make().ask(_problem(space, objectives, [Limit("cost", "<", least)]), history, 4)
            assert asked == [], f"{name}: nothing keeps the exact limit, and {asked[0]} was asked for"
            spent = time.process_time() - begin
            assert spent < PATIENCE, f"{name}: {spent:.1f} s to find that nothing keeps the exact limit"
        begin = time.process_time()
        only = Limit("cost", "<=", least)
        keep = [_measured(c) for c in [space.smallest] if _cost(c)["cost"] <= least]
        problem = _problem(space, objectives, [only])
        _is_sound(make(), problem, keep, 4, f"{name}, nearly nothing keeps the exact limit")
        spent = time.process_time() - begin
        assert spent < PATIENCE, f"{name}: {spent:.1f} s to find that nearly nothing keeps the exact limit"
    for op, bound in (("<=", 53.0), (">", 195.5)):
        problem = _problem(_vast(), objectives, [Limit("cost", op, bound)])  # costs of 50 to 200, nearly all near 125
        for history in ((), _history(_vast(), 12)):
            asked = _is_sound(make(), problem, history, 4, f"cost {op} {bound}")
            assert len(asked) > 1, f"10^30 candidates: cost {op} {bound} is kept by many, {len(asked)} were asked for"
    problem = _problem(_conditional(), objectives, [Limit("heat", "<=", -1.0)])
    found: list[Record] = []
    for _ in range(6):
        asked = _is_sound(make(), problem, found, 4, "a measured limit that nothing keeps")
        found += [replace(_measured(c), status="infeasible", reason="too hot") for c in asked]


def _takes_advice_for_advice(make: Make, supported: Sequence[int]) -> None:
    """Records of another study advise, and are neither known nor needed."""
    for objectives in supported[:2]:
        for kind in KINDS:
            space = _small()
            advice = tuple(_measured(c, kind) for c in space.enumerate())
            problem = replace(_problem(space, objectives), warm_start=advice)
            for history in ((), _history(space, 14)):
                _is_sound(make(), problem, history, 6, f"all {space.size} candidates in warm records ({kind})")
        alone = replace(_problem(_vast(), objectives), warm_start=_history(_vast(), 1))
        _is_sound(make(), alone, _history(_vast(), 14), 4, "a single warm record")


def _asks_hints_of_few(make: Make, supported: Sequence[int]) -> None:
    """A hint costs more than a count: whoever uses it asks for what was measured, and for a shortlist."""
    for size in (3, 30):
        history, asked = list(_history(_vast(), size)), dict[Candidate, None]()

        def hints(candidates: Sequence[Candidate], asked: dict[Candidate, None] = asked) -> dict[str, np.ndarray]:
            asked.update(dict.fromkeys(candidates))
            return {"hint": np.array([_values(c)["quality"] for c in candidates])}

        problem = replace(_problem(_vast(), supported[0]), hints=hints)
        first = _is_sound(make(), problem, history, 4, "with hints")
        assert make().ask(problem, history, 4) == first, "with the same records and hints, the same is proposed"
        few = len(asked.keys() - {r.candidate for r in history})
        assert few <= FEW, f"hints were asked for {few} candidates that nobody measured: ask for a shortlist, not all"


def _resumes(make: Make, supported: Sequence[int]) -> None:
    """A run that is cut at any point and continued asks for the same."""
    for objectives in {supported[0], supported[-1]}:
        problem = _problem(_conditional(), objectives, [Limit("heat", "<=", 14.0)])
        history: list[Record] = []
        asked: list[tuple[int, list[Candidate]]] = []
        strategy = make()
        while len(history) < 21:
            asked.append((len(history), strategy.ask(problem, history, 3)))
            history += [_measured(c, ("ok", "noisy", "failed", "ok")[len(c.key) % 4]) for c in asked[-1][1]]
        read = [Record.from_json(json.loads(json.dumps(r.to_json()))) for r in history]
        for size, once in reversed(asked):
            again = make().ask(_problem(_conditional(), objectives, problem.limits), read[:size], 3)
            assert again == once, f"continued from {size} records that were read again, it must ask for the same"


def _says_what_it_does_not_support(make: Make, others: Sequence[int]) -> None:
    for objectives in others:
        for size in (0, 20):
            try:
                make().ask(_problem(_vast(), objectives), _history(_vast(), size), 3)
            except NetwrightError as error:
                assert str(objectives) in str(error), f"the error must say that {objectives} are given, not {error}"
                continue
            raise AssertionError(f"{objectives} objectives are not supported, and nothing said so ({size} records)")
