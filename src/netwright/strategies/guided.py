"""Guided search: Bayesian optimisation with surrogates and expected hypervolume improvement."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..core.candidate import Candidate, Option
from ..core.enumerated import EnumeratedSpace
from ..core.front import nondominated
from ..core.record import Record
from ..core.space import Choice
from .acquisition import OPTIMISM, ExpectedHypervolumeImprovement, promising
from .base import Known, Problem, Strategy, draw_new, initial_candidates
from .integer_encoding import keys, new_rows
from .metric_prediction import predict_metrics
from .predict import PREDICTORS, Predictor
from .predict.encode import is_ordered
from .ranking import ranked
from .surrogate import GAUSSIAN_PROCESS, Predictions, Surrogates

WHOLE = 3000
"""Spaces up to this size are evaluated whole on the surrogates."""
STARTS = 12
"""Candidates from which the local search goes on in a round, at least."""
NEIGHBOURS = 12
"""Neighbours of each."""
SHORTLIST = 8
"""Networks for each that is wanted, of which the problem's hints are asked for."""
OPTIMISMS = (OPTIMISM, 2 * OPTIMISM, 4 * OPTIMISM, 8 * OPTIMISM)
"""Standard deviations by which something may be better than expected: more, where no candidate is promising."""


@dataclass(frozen=True)
class Guided(Strategy):
    """Fit predictors to what was measured, evolve on their predictions, measure the most promising batch.

    After a small start (the smallest, the largest and networks of spread sizes), each batch:

    1. fits a Gaussian process to every objective and limit that costs a run (:class:`GaussianProcess`);
    2. evolves from the best networks under the expected values, with the exact metrics computed, and keeps every
       network met on the way;
    3. takes, one after the other, the network that is expected to add most to the hypervolume of the front and of
       those already taken (:class:`ExpectedHypervolumeImprovement`), times the probability that it keeps the limits;
       the neighbours of the most promising are considered as well. Where the problem has hints, they are asked for
       the ``SHORTLIST`` best for each that is wanted, and the choice among these is made by predictors that know them.

    Args:
        batch: networks measured between two fits.
        start: networks measured before the first fit.
        population, generations: the population and generations of the evolution on predictions.
        local_search_rounds: rounds of local search: in each, neighbours of the networks that would be taken are added.
        predictor: what is fitted instead of the Gaussian process, such as ``random_forest``, ``mine:Predictor`` or,
            with settings, ``(stack,folds=3)``.
    """

    batch: int = 4
    start: int = 10
    population: int = 80
    generations: int = 3
    local_search_rounds: int = 8
    predictor: Predictor | str = GAUSSIAN_PROCESS

    positive = ("batch", "start", "population")

    def __post_init__(self) -> None:
        super().__post_init__()
        PREDICTORS.make(self.predictor)

    def ask(self, problem: Problem, history: Sequence[Record], n: int) -> list[Candidate]:
        rng = problem.rng(history)
        chosen = initial_candidates(problem, history, n)
        left = problem.space.size - len(history) - len(problem.pending) - len(chosen)
        if len(history) >= self.start and 0 < n - len(chosen) < left:
            surrogates = Surrogates(problem, history, self.predictor)
            if surrogates.ready:
                chosen += self._choose(surrogates, chosen, n - len(chosen), rng)
        known = problem.known(history, chosen)
        return chosen + draw_new(problem, known, n - len(chosen), rng, self._start(problem, history, rng))

    def predict_metrics(
        self, problem: Problem, history: Sequence[Record], candidate: Candidate, names: Sequence[str]
    ) -> Mapping[str, tuple[float, float]]:
        return predict_metrics(problem, history, candidate, names)

    def _start(self, problem: Problem, history: Sequence[Record], rng: np.random.Generator) -> Callable[[], Candidate]:
        """Draws of evenly spread sizes, since uniform options make networks of much the same size."""
        levels = (np.random.default_rng(problem.seed).permutation(self.start) + 0.5) / self.start
        at = len(history) + len(problem.pending)

        def draw() -> Candidate:
            nonlocal at
            level, at = levels[at % self.start], at + 1

            def pick(choice: Choice) -> Option:
                last = len(choice.options) - 1
                return choice.options[int(rng.binomial(last, level) if is_ordered(choice) else rng.integers(last + 1))]

            return problem.space.build(pick)

        return draw

    def _choose(
        self,
        surrogates: Surrogates,
        chosen: Sequence[Candidate],
        n: int,
        rng: np.random.Generator,
    ) -> list[Candidate]:
        """Up to ``n`` candidates, each the best addition to the front and to those before it."""
        problem = surrogates.problem
        _, measured = surrogates.told.records.rows(surrogates.encoding)
        seen = Known(measured, keys(surrogates.encoding.of([*problem.pending, *chosen])))
        pool = self._pool(surrogates, seen, rng)
        if not len(pool):
            return []
        found = surrogates.comparable()
        best = found[nondominated(found)]
        for optimism in OPTIMISMS:
            some = promising(pool.losses, pool.std, best, optimism)
            if some.any():
                pool = pool[some]
                break
        ehvi = ExpectedHypervolumeImprovement(found, pool.losses, pool.std, rng, optimism, surrogates.weight)
        probabilities = ehvi.domination_probability(pool.losses, pool.std)
        free = not isinstance(problem.space, EnumeratedSpace) and problem.space.size > WHOLE
        self._count_pending(surrogates, ehvi)
        if free:
            pool, probabilities = self._local_search(surrogates, pool, probabilities, ehvi, best, seen, n, rng)
        if problem.hints:
            shortlist = pool.rows[_taken(pool, probabilities, ehvi, SHORTLIST * n)]
            return self._hinted(surrogates, shortlist, n, rng)
        return surrogates.encoding.candidates(pool.rows[_taken(pool, probabilities, ehvi, n)])

    def _hinted(self, plain: Surrogates, shortlist: np.ndarray, n: int, rng: np.random.Generator) -> list[Candidate]:
        """Up to ``n`` of a shortlist, judged by predictors that the problem's hints are features of, too."""
        surrogates = Surrogates(plain.problem, plain.told.records, self.predictor, hinted=True)
        pool, found = surrogates.predict(shortlist), surrogates.comparable()
        ehvi = ExpectedHypervolumeImprovement(found, pool.losses, pool.std, rng, weight=surrogates.weight)
        self._count_pending(surrogates, ehvi)
        chosen = _taken(pool, ehvi.domination_probability(pool.losses, pool.std), ehvi, n)
        return surrogates.encoding.candidates(pool.rows[chosen])

    def _count_pending(self, surrogates: Surrogates, ehvi: ExpectedHypervolumeImprovement) -> None:
        """Count what is pending as chosen, since its results are still to come."""
        pending = surrogates.problem.pending
        if pending:
            out = surrogates.predict(surrogates.encoding.of(pending))
            for probability in ehvi.domination_probability(out.losses, out.std) * out.feasible[:, None]:
                ehvi.undominated *= 1 - probability

    def _local_search(
        self,
        surrogates: Surrogates,
        pool: Predictions,
        probabilities: np.ndarray,
        ehvi: ExpectedHypervolumeImprovement,
        best: np.ndarray,
        seen: Known[bytes],
        n: int,
        rng: np.random.Generator,
    ) -> tuple[Predictions, np.ndarray]:
        """The pool with neighbours of what would be taken from it, round by round."""
        top = max(n, STARTS)
        for _ in range(self.local_search_rounds):
            starts = _taken(pool, probabilities, ehvi, top)
            rows = surrogates.encoding.neighbours(np.repeat(pool.rows[starts], NEIGHBOURS, axis=0), rng)
            around = surrogates.predict(new_rows(rows, seen))
            around = around[around.allowed]
            around = around[promising(around.losses, around.std, best)]
            pool = pool + around
            probabilities = np.vstack([probabilities, ehvi.domination_probability(around.losses, around.std)])
        return pool, probabilities

    def _pool(self, surrogates: Surrogates, seen: Known[bytes], rng: np.random.Generator) -> Predictions:
        """New candidates that keep the exact limits: all of a small space, else those met in evolution."""
        encoding, space = surrogates.encoding, surrogates.problem.space
        if space.size <= WHOLE:
            pool = surrogates.predict(new_rows(encoding.of(list(space.enumerate())), seen))
            return pool[pool.allowed]
        measured = surrogates.told.chosen(surrogates.told.not_failed())
        listed = (
            new_rows(encoding.of(list(space.enumerate())), Known(seen)) if isinstance(space, EnumeratedSpace) else None
        )
        pool = everyone = surrogates.predict(encoding.of([r.candidate for r in measured]))
        for _ in range(self.generations):
            everyone = everyone[ranked(everyone.losses, everyone.violation, self.population)]
            # The best come first: of two drawn, the one with the lower place is a parent. Half have one parent.
            one, other = rng.integers(len(everyone), size=(2, 2 * self.population, 2)).min(axis=2)
            other[: self.population] = one[: self.population]
            rows = encoding.children(everyone.rows[one], everyone.rows[other], rng)
            if listed is not None:
                rows = _nearest(listed, rows, rng)
            newcomers = surrogates.predict(new_rows(rows, seen))
            everyone, pool = everyone + newcomers, pool + newcomers
        pool = pool[np.arange(len(measured), len(pool))]
        return pool[pool.allowed]


def _taken(pool: Predictions, probabilities: np.ndarray, ehvi: ExpectedHypervolumeImprovement, n: int) -> list[int]:
    """Places of at most ``n`` of a pool, each the best addition to the front and to those before it.

    What an addition is expected to bring counts as much as it is probably feasible.
    """
    taken: list[int] = []
    left = ehvi.undominated.copy()
    for _ in range(min(n, len(pool))):
        gain = (probabilities @ left) * pool.feasible
        # Where nothing can be won, or nothing feasible is known, what is nearest to the limits comes first.
        gain = np.where(gain > 0, gain, -pool.violation - 1e-9)
        gain[taken] = -np.inf
        taken.append(int(np.argmax(gain)))
        left *= 1 - probabilities[taken[-1]] * pool.feasible[taken[-1]]
    return taken


def _nearest(listed: np.ndarray, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For every row the listed one that differs in the fewest choices, by lot among equals; none of an empty list."""
    if not len(listed):
        return listed
    lot = rng.random(len(listed))
    return listed[[int(np.argmin((listed != row).sum(axis=1) + lot)) for row in rows]]
