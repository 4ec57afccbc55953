"""Guided search: predictors in the loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core.candidate import Candidate
from ..core.record import Record
from .base import TRIES, Problem, Strategy, ends, fresh
from .evolution import Parents
from .predict import BayesianLinear, Predictor
from .predict.encode import encode

SAMPLES = 6000
"""Points that the volume is estimated with."""
MARGIN = 0.1
"""How far beyond what is known they reach, relative to its range."""


@dataclass(frozen=True)
class Guided(Strategy):
    """Fit predictors to what was measured, evolve on their predictions, measure a batch that would help most.

    After a small start (the smallest, the largest and random networks), each batch:

    1. fits a Bayesian linear model of every measured objective and limit on the choices and the exact metrics;
    2. evolves from the best networks under the models' means, with the exact metrics computed, and keeps every
       network met on the way;
    3. draws one belief from the models' posterior per network to propose (Thompson sampling), and takes the network
       that adds most to the hypervolume of the front, counting those already chosen. The volume is estimated by
       sampling, as in HypE (Bader and Zitzler 2011), so that any number of objectives is one code path.

    Args:
        batch: networks measured between two fits.
        start: networks measured before the first fit.
        population, generations: of the evolution on predictions.
    """

    batch: int = 8
    start: int = 10
    population: int = 60
    generations: int = 12

    def ask(self, problem: Problem, history: Sequence[Record], n: int) -> list[Candidate]:
        rng = problem.rng(history)
        first = ends(problem, history, n)
        known = [*(r.candidate for r in history), *first]
        models = _Models.fit(problem, history) if len(history) >= self.start else None
        if models is None:
            return first + fresh(problem, known, n - len(first), rng, lambda: problem.space.sample(rng))
        pool = self._pool(problem, known, history, models, rng)
        chosen = first + _choose(problem, history, models, pool, n - len(first), rng)
        known += chosen
        return chosen + fresh(problem, known, n - len(chosen), rng, lambda: problem.space.sample(rng))

    def _pool(
        self,
        problem: Problem,
        met: Sequence[Candidate],
        history: Sequence[Record],
        models: _Models,
        rng: np.random.Generator,
    ) -> list[Candidate]:
        """The new candidates met while evolving on predictions."""
        tries = TRIES // 10  # a generation that comes out smaller does no harm
        pool: dict[Candidate, None] = {}
        parents = Parents.of(problem, history, self.population)
        for _ in range(self.generations):
            met_now = [*met, *pool]
            newcomers = fresh(problem, met_now, self.population // 6, rng, lambda: problem.space.sample(rng), tries)
            children = fresh(
                problem,
                [*met_now, *newcomers],
                self.population - len(newcomers),
                rng,
                lambda parents=parents: (  # type: ignore[misc]
                    parents.child(problem.space, rng) if len(parents) else problem.space.sample(rng)
                ),
                tries,
            )
            if not newcomers and not children:
                break
            pool.update(dict.fromkeys([*newcomers, *children]))
            everyone = [*parents.candidates, *newcomers, *children]
            losses, excess = models.predict(everyone, models.features(everyone))
            parents = Parents(everyone, losses, excess, self.population)
        return list(pool)


class _Models:
    """One predictor for every metric that costs a run."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.names = list(dict.fromkeys([m.name for m in problem.objectives] + [x.metric for x in problem.limits]))
        self.exact = list(problem.exact(problem.space.smallest))
        self.predictors: dict[str, Predictor] = {}

    @classmethod
    def fit(cls, problem: Problem, history: Sequence[Record]) -> _Models | None:
        """The models, or None while too little was measured."""
        models = cls(problem)
        for name in models.names:
            if name in models.exact:
                continue
            known = [r for r in history if name in r.values]
            if len(known) < 4:
                return None
            features = models.features([r.candidate for r in known])
            models.predictors[name] = BayesianLinear().fit(features, np.array([r.values[name] for r in known]))
        return models

    def features(self, candidates: Sequence[Candidate]) -> np.ndarray:
        """Choices and logarithms of the exact metrics, shape (candidates, features)."""
        costs = np.log1p(np.maximum(self._exact(candidates), 0))
        return np.hstack([encode(self.problem.space, candidates), costs])

    def predict(
        self, candidates: Sequence[Candidate], features: np.ndarray, rng: np.random.Generator | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Losses (n, objectives) and excess over the limits (n,): of the means, or of one sampled belief."""
        values = dict(zip(self.exact, self._exact(candidates).T, strict=True))
        for name, model in self.predictors.items():
            values[name] = model.predict(features)[0] if rng is None else model.sample(features, rng)
        losses = np.stack([m.loss(1.0) * values[m.name] for m in self.problem.objectives], axis=1)
        excess = np.zeros(len(candidates))
        for limit in self.problem.limits:
            excess += [limit.excess(v) for v in values[limit.metric]]
        return losses, excess

    def _exact(self, candidates: Sequence[Candidate]) -> np.ndarray:
        rows = [[self.problem.exact(c)[name] for name in self.exact] for c in candidates]
        return np.array(rows, dtype=np.float64).reshape(len(candidates), len(self.exact))


def _choose(
    problem: Problem,
    history: Sequence[Record],
    models: _Models,
    pool: list[Candidate],
    n: int,
    rng: np.random.Generator,
) -> list[Candidate]:
    """Up to ``n`` of the pool, each the best addition to the front under a belief of its own."""
    if not pool:
        return []
    features = models.features(pool)
    found = [x for r in history if r.status == "ok" and (x := problem.losses(r)) is not None]
    means, _ = models.predict(pool, features)
    known = np.array(found) if found else means
    low, high = np.minimum(known.min(axis=0), means.min(axis=0)), known.max(axis=0)
    reach = np.where(high > low, high - low, 1.0)
    # Points spread evenly over what may still be won: the share of them that a network would newly dominate stands
    # for the volume that it would add.
    samples = low - MARGIN * reach + (1 + 2 * MARGIN) * reach * rng.random((SAMPLES, len(low)))
    samples = samples[~_dominated(samples, np.array(found).reshape(len(found), len(low)))]
    chosen: list[int] = []
    for _ in range(min(n, len(pool))):
        losses, excess = models.predict(pool, features, rng)
        wins = np.all(losses[:, None, :] <= samples[None, :, :], axis=2)
        gain = wins.sum(axis=1).astype(np.float64)
        gain[excess > 0] = -excess[excess > 0]
        gain[chosen] = -np.inf
        best = int(np.argmax(gain))
        chosen.append(best)
        samples = samples[~wins[best]]
    return [pool[i] for i in chosen]


def _dominated(points: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Which points are no better than one of ``by`` in any objective, bool of shape (points,)."""
    covered = np.zeros(len(points), dtype=bool)
    for other in by:
        covered |= np.all(other <= points, axis=1)
    return covered
