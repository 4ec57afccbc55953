"""WeakNAS: a random few of those that a weak predictor ranks best are measured, and train the next predictor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..core.candidate import Candidate
from ..core.record import Record
from .base import Problem, Strategy, draw_new, initial_candidates
from .integer_encoding import keys, new_rows
from .linas import WeakSurrogates
from .ranking import ranked


@dataclass(frozen=True)
class WeakNas(Strategy):
    """WeakNAS (Wu et al. 2021, arXiv 2102.10490).

    The ends of the space and random candidates come first. Then each round fits a weak model (ridge regression) to
    all that was measured, predicts a large random pool, and measures candidates drawn with equal chances from the
    best of it. With several objectives, the best are those of the first fronts, the last of them thinned by crowding.
    Exact metrics are computed.

    Args:
        batch: candidates measured in a round.
        start: candidates measured before the first model.
        pool: random candidates that are predicted; a smaller space is predicted whole.
        best: how many of them are drawn from.
    """

    batch: int = 10
    start: int = 50
    pool: int = 10_000
    best: int = 100

    positive = ("batch", "start", "pool", "best")

    def ask(self, problem: Problem, history: Sequence[Record], n: int) -> list[Candidate]:
        rng = problem.rng(history)
        first = initial_candidates(problem, history, n)
        known = [*problem.proposed(history), *first]
        weak = WeakSurrogates.fit(problem, history, ("ridge",)) if len(history) >= self.start else None
        if weak is not None and len(first) < n:
            whole = weak.whole(self.pool, rng)
            pool = weak.encoding.sample(self.pool, rng) if whole is None else whole
            pool = new_rows(pool, keys(weak.encoding.of(known)))
            chosen = rng.permutation(ranked(*weak(pool), max(self.best, n)))
            first += weak.allowed(pool[chosen])[: n - len(first)]
            known += first
        return first + draw_new(problem, known, n - len(first), rng, lambda: problem.space.sample(rng))
