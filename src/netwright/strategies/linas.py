"""LINAS and ConcurrentNAS: a long evolution on the predictions of weak models, whose best are measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..core.candidate import Candidate
from ..core.encoding import Candidates
from ..core.enumerated import EnumeratedSpace
from ..core.record import Record
from .base import Problem, Strategy, draw_new, initial_candidates
from .integer_encoding import keys, new_rows
from .predict.encode import Encoder, Features
from .ranking import ranked

ENOUGH = 4
"""Values that a model of a metric needs."""
FOLDS = 5
"""Of the cross-validation that chooses between models."""


@dataclass(frozen=True)
class Linas(Strategy):
    """LINAS (Cummings et al. 2022, arXiv 2205.10358; DyNAS-T): rounds of weak predictors and a long search on them.

    The first round measures the ends of the space and random candidates. Each further round

    1. fits a weak model of every objective and limit that costs a run to all that was measured: ridge or support
       vector regression on one-hot options, whichever cross-validates better;
    2. runs NSGA-II from a random population on their predictions, for very many generations;
    3. measures the last population.

    Unlike DyNAS-T, it knows when two choices of options are one network, so that none is met or measured twice; it
    mutates for certain; it computes exact metrics instead of predicting them; and every round has a seed of its own.

    Args:
        batch: candidates measured in a round, and the population of the search on predictions.
        generations: generations of that search; the authors evaluate 20,000 candidates a round.
    """

    batch: int = 50
    generations: int = 400

    positive = ("batch", "generations")

    regressors: ClassVar[tuple[str, ...]] = ("ridge", "svr")

    def ask(self, problem: Problem, history: Sequence[Record], n: int) -> list[Candidate]:
        rng = problem.rng(history)
        first = initial_candidates(problem, history, n)
        known = [*problem.proposed(history), *first]
        weak = WeakSurrogates.fit(problem, history, self.regressors) if len(history) >= self.batch else None
        if weak is not None and len(first) < n:
            rows = self._search(weak, known, max(self.batch, n), rng)
            first += weak.allowed(rows)[: n - len(first)]
            known += first
        return first + draw_new(problem, known, n - len(first), rng, lambda: problem.space.sample(rng))

    def _search(
        self, weak: WeakSurrogates, known: Sequence[Candidate], population: int, rng: np.random.Generator
    ) -> Any:
        """Rows of the best new candidates by prediction, the best first."""
        seen = keys(weak.encoding.of(known))
        whole = weak.whole(population * self.generations, rng)
        rows = new_rows(weak.encoding.sample(population, rng) if whole is None else whole, seen)
        if not len(rows):
            return rows
        losses, violation = weak(rows)
        best = ranked(losses, violation, population)
        rows, losses, violation = rows[best], losses[best], violation[best]
        for _ in range(self.generations if whole is None else 0):
            # The population stands best first: the winner of a tournament of two is the one with the lower place.
            pairs = rng.integers(len(rows), size=(2, population, 2)).min(axis=2)
            children = new_rows(weak.encoding.children(rows[pairs[0]], rows[pairs[1]], rng), seen)
            if not len(children):
                continue
            more, beyond = weak(children)
            rows, losses = np.vstack([rows, children]), np.vstack([losses, more])
            violation = np.concatenate([violation, beyond])
            best = ranked(losses, violation, population)
            rows, losses, violation = rows[best], losses[best], violation[best]
        return rows


@dataclass(frozen=True)
class ConcurrentNas(Linas):
    """ConcurrentNAS (Cummings et al. 2022, arXiv 2202.12954, algorithm 1), of which LINAS came.

    The same rounds, with smaller populations, one kind of weak model (ridge regression), and just over the 200
    generations that the authors ask for at least.
    """

    batch: int = 25
    generations: int = 210

    regressors: ClassVar[tuple[str, ...]] = ("ridge",)


class WeakSurrogates:
    """Losses and violation of any candidates of a problem: exact metrics computed, the others predicted.

    Args:
        problem: the problem whose objectives and limits are wanted.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.exact = list(problem.exact([problem.space.smallest]))
        self.encoder = Encoder(problem.space)
        self.encoding = self.encoder.encoding
        self.models: dict[str, _Weak] = {}

    @classmethod
    def fit(cls, problem: Problem, history: Sequence[Record], regressors: Sequence[str]) -> WeakSurrogates | None:
        """With a weak model of every metric that costs a run, or None while too little was measured.

        Args:
            problem: the problem whose metrics are learned.
            history: the records; those without a value of a metric are left out of its model.
            regressors: ``ridge``, ``svr``, or both.
        """
        predicted = cls(problem)
        for name in problem.metrics:
            if name in predicted.exact:
                continue
            known = [r for r in history if name in r.values]
            if len(known) < ENOUGH:
                return None
            features = predicted.encoder([r.candidate for r in known])
            predicted.models[name] = _Weak(features, np.array([r.values[name] for r in known]), regressors)
        return predicted

    def __call__(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Losses (n, objectives) and violation over the limits (n,) of rows of option positions."""
        values = self.computed(rows)
        features = self.encoder.rows(rows, np.empty((len(rows), 0)))
        values |= {name: model.predict(features) for name, model in self.models.items()}
        losses = np.stack([m.loss(1.0) * values[m.name] for m in self.problem.objectives], axis=1)
        violation = np.zeros(len(rows))
        for limit in self.problem.limits:
            violation += limit.violations(values[limit.metric])
        return losses, violation

    def computed(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """The exact metrics of rows."""
        some = Candidates(self.encoding, rows)
        return {**self.problem.exact(some)} if len(rows) else {name: np.empty(0) for name in self.exact}

    def allowed(self, rows: np.ndarray) -> Candidates:
        """The candidates of rows that keep every limit on an exact metric."""
        some = Candidates(self.encoding, rows)
        return some[self.problem.allowed(some)]

    def whole(self, most: int, rng: np.random.Generator) -> np.ndarray | None:
        """Rows of the whole space where it has at most so many candidates, else None.

        Of a longer list they are a random part: what lies between its candidates does not exist.
        """
        space = self.problem.space
        if space.size <= most:
            return self.encoding.of(list(space.enumerate()))
        if isinstance(space, EnumeratedSpace):
            return self.encoding.of(list(dict.fromkeys(space.sample(rng) for _ in range(most))))
        return None


class _Weak:
    """The better of a few simple regressors, by cross-validated squared error.

    Args:
        features: the features of the measured candidates.
        values: what was found, shape (n,).
        regressors: the kinds to choose from.
    """

    def __init__(self, features: Features, values: np.ndarray, regressors: Sequence[str]) -> None:
        from sklearn.linear_model import Ridge
        from sklearn.model_selection import GridSearchCV, KFold
        from sklearn.svm import SVR

        self._centre, self._scale = float(values.mean()), float(values.std()) or 1.0
        kinds = {
            "ridge": (Ridge(), {"alpha": [0.1, 1.0, 10.0]}),
            "svr": (SVR(gamma="auto", epsilon=0.0, max_iter=100_000), {"C": [1.0, 10.0, 100.0]}),
        }
        parts = KFold(min(FOLDS, len(values)), shuffle=True, random_state=0)
        searches = [GridSearchCV(*kinds[kind], cv=parts, scoring="neg_mean_squared_error") for kind in regressors]
        state = (
            np.random.get_state()
        )  # scikit-learn's SVR takes a seed from NumPy's global random state, and needs none
        for search in searches:
            search.fit(features.options, (values - self._centre) / self._scale)
        np.random.set_state(state)
        self._model = max(searches, key=lambda s: s.best_score_).best_estimator_

    def predict(self, features: Features) -> np.ndarray:
        if not len(features):  # which scikit-learn refuses
            return np.empty(0)
        return self._model.predict(features.options) * self._scale + self._centre
