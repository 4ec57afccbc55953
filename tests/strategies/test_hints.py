"""Hints: cheap figures that are asked for a shortlist alone, and what they are worth."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import netwright as nw
from netwright.core.candidate import Candidate
from netwright.core.errors import CallError, MeasureError
from netwright.core.metric import Measurement, Metric
from netwright.core.record import Record
from netwright.core.space import Choice, Space
from netwright.strategies.base import Problem, of_each
from netwright.strategies.guided import SHORTLIST, Guided
from netwright.strategies.surrogate import Surrogates
from netwright.study.candidate_hints import Hints

SPACE = Space([Choice(f"k{i}", (1, 2, 3, 4)) for i in range(12)])
QUALITY, COST = Metric("quality", direction="max"), Metric("cost", exact=True)
TABLE = np.random.default_rng(0).normal(size=(12, 4, 12, 4))


def quality(candidate: Candidate) -> float:
    """Pairs of choices interact without an order, which no few records tell."""
    at = SPACE.indices(candidate)
    return float(sum(TABLE[i, at[i], j, at[j]] for i in range(12) for j in range(i)))


def cost(candidate: Candidate) -> dict[str, float]:
    return {"cost": float(sum(candidate.values()))}  # type: ignore[arg-type]


def proxy(candidate: Candidate) -> float:
    return quality(candidate) + float(np.sin(1000 * quality(candidate)))


def records(n: int, seed: int = 0) -> list[Record]:
    rng = np.random.default_rng(seed)
    drawn = dict.fromkeys(SPACE.sample(rng) for _ in range(n))
    measured = ({"quality": Measurement(quality(c)), "cost": Measurement(cost(c)["cost"])} for c in drawn)
    return [Record(c, found, objectives=(QUALITY, COST)) for c, found in zip(drawn, measured, strict=True)]


def problem(hint: Any = proxy, seed: int = 0) -> Problem:
    hints = None if hint is None else Hints({"proxy": hint})
    return Problem(SPACE, (QUALITY, COST), (), of_each(cost), seed, hints=hints)


def error(hint: Any) -> float:
    """How far predictions are off, as a share of the deviation of what is predicted."""
    new, history = [r.candidate for r in records(60, seed=3)], records(40)
    surrogates = Surrogates(problem(hint), history, hinted=hint is not None)
    model = surrogates.models["quality"]
    assert model is not None
    expected = surrogates.predict(surrogates.encoding.of(new)).losses[:, 0]
    truth = model.transform.transform(np.array([-quality(c) for c in new]))
    return float(np.sqrt(np.mean((expected - truth) ** 2)) / truth.std())


def test_what_is_hinted_is_predicted_better() -> None:
    assert error(proxy) < 0.5 * error(None)


def test_a_hint_that_tells_nothing_does_little_harm() -> None:
    assert error(lambda c: float(int(c.id, 16) % 997)) < 1.2 * error(None)


def test_few_are_asked_and_better_ones_are_proposed() -> None:
    found: dict[bool, list[float]] = {True: [], False: []}
    for seed in range(4):
        history, asked = records(40, seed), list[Candidate]()

        def counted(candidate: Candidate, asked: list[Candidate] = asked) -> float:
            asked.append(candidate)
            return proxy(candidate)

        for hinted in (True, False):
            chosen = Guided().ask(problem(counted if hinted else None, seed), history, 4)
            found[hinted] += [quality(c) - cost(c)["cost"] for c in chosen]
        assert len(asked) == len(set(asked)), "each is asked once"
        assert len(set(asked) - {r.candidate for r in history}) <= SHORTLIST * 4
    assert np.mean(found[True]) > np.mean(found[False])


def test_a_search_and_a_study_take_hints() -> None:
    def searched(hints: Any) -> list[Record]:
        objectives: Any = {"quality": "max", "cost": "min"}
        return nw.search(SPACE, lambda c: {"quality": quality(c)}, objectives, exact=cost, hints=hints, evaluations=18)

    plain, first = searched(None), searched({"p": proxy})
    assert [r.candidate for r in searched({"p": proxy})] == [r.candidate for r in first]
    assert [r.candidate for r in first] != [r.candidate for r in plain]
    assert "p" not in first[0].values, "a hint is no measurement"


@pytest.mark.parametrize("wrong", [proxy, {"p": 3}, {3: proxy}, ["p"]])
def test_hints_are_functions_by_name(wrong: Any) -> None:
    with pytest.raises(CallError, match="functions of a candidate by name"):
        Hints(wrong)


@pytest.mark.parametrize(
    ("hint", "why"),
    [
        (lambda c: 1 / 0, "'p' raised ZeroDivisionError"),
        (lambda c: "much", "must be a number"),
        (lambda c: float("nan"), "must be a finite number"),
        (lambda c: 1e200, "must be a number between -1e.150 and 1e.150, not 1e.200"),
        (lambda c: 10**400, "must be a number between -1e.150 and 1e.150, not a whole number of 1329 bits"),
        (lambda c: Fraction(10**400), "must be a number between -1e.150 and 1e.150, not a Fraction"),
    ],
)
def test_a_wrong_hint_is_named(hint: Any, why: str) -> None:
    with pytest.raises(MeasureError, match=why):
        Hints({"p": hint})([SPACE.smallest])
