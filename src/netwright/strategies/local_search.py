"""Local search: from the best found, one choice at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..core.candidate import Candidate, Option
from ..core.enumerated import EnumeratedSpace
from ..core.record import Record
from ..core.space import Choice, Space
from .base import Problem, Strategy, draw_new, initial_candidates
from .evolution import Measured

REMEMBERED = 4096
"""Neighbourhoods that are kept, since every ask climbs again all the way from the start."""


@dataclass(frozen=True)
class LocalSearch(Strategy):
    """Hill climbing with restarts (White et al. 2021); Pareto local search (Paquete et al. 2004) for several
    objectives.

    After a random start, what is measured are neighbours of the best so far, or of the members of the front so far:
    candidates that differ in one choice. Once all neighbours of all members are known, the climb is over, and the next
    begins with what is measured next, at random. A candidate beyond the limits is worse than one that is less so.

    Args:
        start: random candidates before the first climb.
    """

    batch: int = 8
    start: int = 10

    positive = ("batch", "start")

    def ask(self, problem: Problem, history: Sequence[Record], n: int) -> list[Candidate]:
        rng = problem.rng(history)
        chosen = initial_candidates(problem, history, n)
        known = {*problem.proposed(history), *chosen}
        if len(history) >= self.start:
            open_ = [[c for c in around if c not in known] for around in _climb(problem, history).values()]
            chosen += _one_of_each(open_, n - len(chosen), rng)
        return chosen + draw_new(problem, [*known, *chosen], n - len(chosen), rng, lambda: problem.space.sample(rng))


@lru_cache(maxsize=REMEMBERED)
def neighbours(space: Space, candidate: Candidate) -> tuple[Candidate, ...]:
    """The candidates that differ in one choice; choices that become active take their first option.

    In a listed space, the nearest that is listed stands for one that is not.
    """

    def moved(name: str, option: Option) -> Candidate:
        def pick(choice: Choice) -> Option:
            return option if choice.name == name else candidate.get(choice.name, choice.options[0])

        return space.build(pick)

    others = [moved(name, o) for name, own in candidate.items() for o in space[name].options if o != own]
    if isinstance(space, EnumeratedSpace):
        lot = np.random.default_rng(0)
        others = [space.nearest(other, {candidate}, lot) for other in others]
    return tuple(c for c in dict.fromkeys(others) if c != candidate)


def _climb(problem: Problem, history: Sequence[Record]) -> dict[Candidate, list[Candidate]]:
    """The members of the present climb's front, and those of their neighbours that may be measured.

    Every climb of the history is made again, so that it is known where the present one began.
    """
    found = Measured.of(problem, history)
    merits = dict(zip(found.candidates, np.column_stack([found.violation, found.losses]), strict=True))
    known: set[Candidate] = set()
    front: dict[Candidate, list[Candidate]] = {}
    for record in history:
        candidate = record.candidate
        known.add(candidate)
        if candidate in merits and candidate not in front:
            merit = merits[candidate]
            if not any(_covers(merits[c], merit) for c in front):
                front = {c: around for c, around in front.items() if not _covers(merit, merits[c])}
                front[candidate] = [c for c in neighbours(problem.space, candidate) if problem.allows(c)]
        if front and all(c in known for around in front.values() for c in around):
            front = {}
    return front


def _covers(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether one is less beyond the limits than the other, or as much and no worse in any objective."""
    return bool(one[0] < other[0] or (one[0] == other[0] and np.all(one[1:] <= other[1:])))


def _one_of_each(groups: list[list[Candidate]], n: int, rng: np.random.Generator) -> list[Candidate]:
    """Up to ``n`` distinct candidates by lot, one group after another, so that none is served before the others."""
    turns = [
        (turn, float(rng.random()), candidate)
        for group in groups
        for turn, candidate in enumerate(group[i] for i in rng.permutation(len(group)))
    ]
    return list(dict.fromkeys(c for _, _, c in sorted(turns, key=lambda t: t[:2])))[:n]
