"""Bayesian linear regression."""

from __future__ import annotations

import numpy as np

from .base import Predictor
from .encode import Features
from .prepare import Scale, in_order, weights_of


class BayesianLinear(Predictor):
    """Ridge regression whose two precisions are found from the data (MacKay 1992; scikit-learn's BayesianRidge).

    The standard deviation is that of the weights and of what the line does not explain.

    Args:
        interactions: also learn the products of the positions of neighbouring choices.
    """

    def __init__(self, interactions: bool = False) -> None:
        self.interactions = interactions

    def fit(self, features: Features, values: np.ndarray, noise: np.ndarray | None = None) -> BayesianLinear:
        from sklearn.linear_model import BayesianRidge

        features, values, noise = in_order(features, values, noise)
        weights = weights_of(values, noise)
        x = self._columns(features)
        self._columns_scale, self._scale = Scale.of(x, weights), Scale.of(values, weights)
        model = BayesianRidge(fit_intercept=False)
        model.fit(self._columns_scale(x), self._scale(values), None if noise is None else weights)
        self._weights, self._covariance, self._noise = model.coef_, model.sigma_, 1 / model.alpha_
        return self

    def predict(self, features: Features) -> tuple[np.ndarray, np.ndarray]:
        x = self._columns_scale(self._columns(features))
        variance = ((x @ self._covariance) * x).sum(axis=1) + self._noise
        return self._scale.inverse(x @ self._weights), np.sqrt(np.maximum(variance, 0)) * self._scale.unit

    def _columns(self, features: Features) -> np.ndarray:
        if not self.interactions:
            return features.matrix
        one, other = features.neighbours.T
        return np.hstack([features.matrix, features.positions[:, one] * features.positions[:, other]])
