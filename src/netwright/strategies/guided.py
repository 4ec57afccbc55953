"""Guided search: predictors in the loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..core.candidate import Candidate, Option
from ..core.enumerated import EnumeratedSpace
from ..core.front import comparable, nondominated
from ..core.record import Record
from ..core.space import Choice
from .base import Problem, Strategy, ends, fresh
from .beliefs import Beliefs, Outlook, telling
from .codes import keys, new_rows
from .foretell import foretold
from .predict.encode import is_ordered
from .ranking import ranked
from .volume import HOPE, Volume, hopeful

WHOLE = 3000
"""Spaces up to this size are looked at whole."""
CLIMBERS = 12
"""Networks whose neighbours are looked at in a round, at least."""
NEIGHBOURS = 12
"""Neighbours of each."""
HOPES = (HOPE, 2 * HOPE, 4 * HOPE, 8 * HOPE)
"""Standard deviations by which something may be better than expected: more, where nothing is left to hope for."""


@dataclass(frozen=True)
class Guided(Strategy):
    """Fit predictors to what was measured, evolve on their predictions, measure the batch that promises most.

    After a small start (the smallest, the largest and networks of spread sizes), each batch:

    1. fits a Gaussian process to every objective and limit that costs a run (:class:`GaussianProcess`);
    2. evolves from the best networks under the expected values, with the exact metrics computed, and keeps every
       network met on the way;
    3. takes, one after the other, the network that is expected to add most to the hypervolume of the front and of
       those already taken (:class:`Volume`), times the probability that it keeps the limits; the neighbours of the
       most promising are looked at as well.

    Args:
        batch: networks measured between two fits.
        start: networks measured before the first fit.
        population, generations: of the evolution on predictions.
        climbs: rounds in which neighbours of the networks that would be taken are looked at.
    """

    batch: int = 4
    start: int = 10
    population: int = 80
    generations: int = 3
    climbs: int = 8

    def ask(self, problem: Problem, history: Sequence[Record], n: int) -> list[Candidate]:
        rng = problem.rng(history)
        chosen = ends(problem, history, n)
        known = [*problem.proposed(history), *chosen]
        left = problem.space.size - len(known)
        if len(history) >= self.start and 0 < n - len(chosen) < left:
            beliefs = Beliefs(problem, history)
            if beliefs.ready:
                chosen += self._choose(beliefs, history, known, n - len(chosen), rng)
                known += chosen
        return chosen + fresh(problem, known, n - len(chosen), rng, self._start(problem, history, rng))

    def foretell(
        self, problem: Problem, history: Sequence[Record], candidate: Candidate, names: Sequence[str]
    ) -> Mapping[str, tuple[float, float]]:
        return foretold(problem, history, candidate, names)

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
        self, beliefs: Beliefs, history: Sequence[Record], known: Sequence[Candidate], n: int, rng: np.random.Generator
    ) -> list[Candidate]:
        """Up to ``n`` candidates, each the best addition to the front and to those before it."""
        problem = beliefs.problem
        seen = keys(beliefs.codes.of(known))
        pool = self._pool(beliefs, history, seen, rng)
        if not len(pool):
            return []
        found = beliefs.losses(comparable(history, problem.objectives))
        best = found[nondominated(found)]
        for hope in HOPES:
            some = hopeful(pool.losses, pool.spread, best, hope)
            if some.any():
                pool = pool[some]
                break
        volume = Volume(found, pool.losses, pool.spread, rng, hope, beliefs.worth)
        chances = volume.chances(pool.losses, pool.spread)
        free = not isinstance(problem.space, EnumeratedSpace) and problem.space.size > WHOLE
        if problem.pending:  # counted as chosen, since their results are still to come
            out = beliefs.look(beliefs.codes.of(problem.pending))
            for chance in volume.chances(out.losses, out.spread) * out.feasible[:, None]:
                volume.open *= 1 - chance
        if free:
            pool, chances = self._climb(beliefs, pool, chances, volume, best, seen, n, rng)
        return [pool.candidates[i] for i in _taken(pool, chances, volume, n)]

    def _climb(
        self,
        beliefs: Beliefs,
        pool: Outlook,
        chances: np.ndarray,
        volume: Volume,
        best: np.ndarray,
        seen: set[bytes],
        n: int,
        rng: np.random.Generator,
    ) -> tuple[Outlook, np.ndarray]:
        """The pool with neighbours of what would be taken from it, round by round."""
        top = max(n, CLIMBERS)
        for _ in range(self.climbs):
            climbers = _taken(pool, chances, volume, top)
            rows = beliefs.codes.neighbours(np.repeat(pool.rows[climbers], NEIGHBOURS, axis=0), rng)
            around = beliefs.look(new_rows(rows, seen))
            around = around[around.allowed]
            around = around[hopeful(around.losses, around.spread, best)]
            pool = pool + around
            chances = np.vstack([chances, volume.chances(around.losses, around.spread)])
        return pool, chances

    def _pool(self, beliefs: Beliefs, history: Sequence[Record], seen: set[bytes], rng: np.random.Generator) -> Outlook:
        """New candidates that keep the exact limits: all of a small space, else those met in evolution."""
        codes, space = beliefs.codes, beliefs.problem.space
        if space.size <= WHOLE:
            pool = beliefs.look(new_rows(codes.of(list(space.enumerate())), seen))
            return pool[pool.allowed]
        measured = telling(beliefs.problem, [r for r in history if r.status != "failed"])
        listed = new_rows(codes.of(list(space.enumerate())), set(seen)) if isinstance(space, EnumeratedSpace) else None
        pool = everyone = beliefs.look(codes.of([r.candidate for r in measured]))
        for _ in range(self.generations):
            everyone = everyone[ranked(everyone.losses, everyone.violation, self.population)]
            # The best come first: of two drawn, the one with the lower place is a parent. Half have one parent.
            one, other = rng.integers(len(everyone), size=(2, 2 * self.population, 2)).min(axis=2)
            other[: self.population] = one[: self.population]
            rows = codes.children(everyone.rows[one], everyone.rows[other], rng)
            if listed is not None:
                rows = _nearest(listed, rows, rng)
            newcomers = beliefs.look(new_rows(rows, seen))
            everyone, pool = everyone + newcomers, pool + newcomers
        pool = pool[np.arange(len(measured), len(pool))]
        return pool[pool.allowed]


def _taken(pool: Outlook, chances: np.ndarray, volume: Volume, n: int) -> list[int]:
    """Places of at most ``n`` of a pool, each the best addition to the front and to those before it.

    What an addition is expected to bring counts as much as it is probably feasible.
    """
    taken: list[int] = []
    left = volume.open.copy()
    for _ in range(min(n, len(pool))):
        gain = (chances @ left) * pool.feasible
        # Where nothing can be won, or nothing feasible is known, what is nearest to the limits comes first.
        gain = np.where(gain > 0, gain, -pool.violation - 1e-9)
        gain[taken] = -np.inf
        taken.append(int(np.argmax(gain)))
        left *= 1 - chances[taken[-1]] * pool.feasible[taken[-1]]
    return taken


def _nearest(listed: np.ndarray, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For every row the listed one that differs in the fewest choices, by lot among equals; none of an empty list."""
    if not len(listed):
        return listed
    lot = rng.random(len(listed))
    return listed[[int(np.argmin((listed != row).sum(axis=1) + lot)) for row in rows]]
