"""Bayesian linear regression."""

from __future__ import annotations

import numpy as np

from .base import Predictor


class BayesianLinear(Predictor):
    """Ridge regression whose two precisions are found from the data (MacKay 1992; scikit-learn's BayesianRidge)."""

    def fit(self, features: np.ndarray, values: np.ndarray) -> BayesianLinear:
        from sklearn.linear_model import BayesianRidge

        self._centre, self._scale = float(values.mean()), float(values.std()) or 1.0
        self._mean = features.mean(axis=0)
        self._deviation = np.where(features.std(axis=0) > 0, features.std(axis=0), 1.0)
        model = BayesianRidge(fit_intercept=False)
        model.fit(self._standard(features), (values - self._centre) / self._scale)
        self._weights = model.coef_
        spectrum, vectors = np.linalg.eigh(model.sigma_)
        self._root = vectors * np.sqrt(np.maximum(spectrum, 0))
        return self

    def predict(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = self._standard(features)
        spread = np.linalg.norm(x @ self._root, axis=1)
        return x @ self._weights * self._scale + self._centre, spread * self._scale

    def sample(self, features: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        weights = self._weights + self._root @ rng.standard_normal(len(self._weights))
        return self._standard(features) @ weights * self._scale + self._centre

    def _standard(self, features: np.ndarray) -> np.ndarray:
        return (features - self._mean) / self._deviation
