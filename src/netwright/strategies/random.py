"""Random search: the baseline that every other strategy must beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..core.candidate import Candidate
from ..core.record import Record
from .base import Problem, Strategy, draw_new, initial_candidates


@dataclass(frozen=True)
class Random(Strategy):
    """The smallest and the largest network, then uniform random options."""

    batch: int = 8

    def ask(self, problem: Problem, history: Sequence[Record], n: int) -> list[Candidate]:
        rng = problem.rng(history)
        first = initial_candidates(problem, history, n)
        known = problem.known(history, first)
        return first + draw_new(problem, known, n - len(first), rng, lambda: problem.space.sample(rng))
