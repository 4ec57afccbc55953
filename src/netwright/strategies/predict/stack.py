"""Several predictors as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .base import Predictor
from .encode import Features
from .gp import GaussianProcess
from .linear import BayesianLinear
from .neural import Ranker
from .prepare import in_order
from .regressors import SupportVectors
from .scores import kendall, out_of_fold

ROUNDS = 20
"""In which a member is added: weights are multiples of 1 / ROUNDS."""
AS_WELL = 0.002
"""Difference of Kendall's tau that tells nothing: the smaller squared error decides."""


def members() -> list[Predictor]:
    """What a stack is made of by default: predictors that err differently."""
    return [GaussianProcess(), BayesianLinear(interactions=True), SupportVectors(), Ranker()]


class Stack(Predictor):
    """A convex combination of predictors whose weights are chosen by cross-validated rank correlation.

    The weights count how often each member is taken when members are added one by one, with replacement, each time the
    one that makes Kendall's tau of the rows held out greatest, and of those as good the one of the
    smallest error (ensemble selection; Caruana et al. 2004). The standard deviation is that of the mixture (the
    members' own deviations and their disagreement), scaled to the errors on rows held out.

    Args:
        make: new members; by default :func:`members`.
        folds: the folds of the cross-validation.
    """

    def __init__(self, make: Callable[[], Sequence[Predictor]] = members, folds: int = 5) -> None:
        self.make, self.folds = make, folds

    def fit(self, features: Features, values: np.ndarray, noise: np.ndarray | None = None) -> Stack:
        features, values, noise = in_order(features, values, noise)
        self._members = [m.fit(features, values, noise) for m in self.make()]
        self.weights = np.full(len(self._members), 1 / len(self._members))
        """Of the members; they sum to 1."""
        self._stretch = 1.0
        if len(values) < 2:
            return self
        unseen = [
            out_of_fold(lambda i=i: self.make()[i], features, values, noise, self.folds)  # type: ignore[misc]
            for i in range(len(self._members))
        ]
        means, stds = np.array([m for m, _ in unseen]), np.array([s for _, s in unseen])
        self.weights = _chosen(means, values)
        mean, std = _mixture(means, stds, self.weights)
        known = std > 1e-9 * max(float(np.ptp(values)), 1e-30)
        if known.any():
            self._stretch = float(np.sqrt(np.mean(((mean - values)[known] / std[known]) ** 2)))
        return self

    def predict(self, features: Features) -> tuple[np.ndarray, np.ndarray]:
        each = [m.predict(features) for m in self._members]
        mean, std = _mixture(np.array([m for m, _ in each]), np.array([s for _, s in each]), self.weights)
        return mean, std * self._stretch


def _mixture(means: np.ndarray, stds: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of a mixture; means and deviations of shape (members, n)."""
    mean = weights @ means
    return mean, np.sqrt(weights @ (stds**2 + (means - mean) ** 2))


def _chosen(means: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The weights of the members, given what they say of rows held out, shape (members, n)."""
    counts = np.zeros(len(means))
    total = np.zeros_like(values, dtype=np.float64)
    for size in range(1, ROUNDS + 1):
        taus = np.array([kendall((total + m) / size, values) for m in means])
        errors = (((total + means) / size - values) ** 2).mean(axis=1)
        best = int(np.argmin(np.where(taus >= taus.max() - AS_WELL, errors, np.inf)))
        counts[best] += 1
        total = total + means[best]
    return counts / ROUNDS
