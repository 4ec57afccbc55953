"""Regressors of other packages: support vectors, forests, boosted trees."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...core.errors import MissingExtra
from .base import Predictor
from .encode import Features
from .prepare import FOLDS, UNKNOWN, Inputs, Scale, folds_of, in_order, inputs, weights_of


class _CrossValidated(Predictor):
    """A regressor that states no standard deviation: the root mean square of its errors on rows held out stands for it.

    Of several settings the one with the smallest error is taken.
    """

    @abstractmethod
    def _models(self, n: int) -> Sequence[Any]:
        """Regressors in scikit-learn's manner, one for every setting, for n rows."""

    def fit(self, features: Features, values: np.ndarray, noise: np.ndarray | None = None) -> Predictor:
        features, values, noise = in_order(features, values, noise)
        weights = weights_of(values, noise)
        self._inputs, self._scale = Inputs.of(features, weights), Scale.of(values, weights)
        x, y = self._inputs(features), self._scale(values)
        held = folds_of(len(y), FOLDS, seed=0)
        models = self._models(len(y))
        errors = [_error(model, x, y, weights, held) for model in models]
        best = int(np.argmin(errors))
        self._error = errors[best] * self._scale.unit
        self._model = _fitted(models[best], x, y, weights)
        return self

    def predict(self, features: Features) -> tuple[np.ndarray, np.ndarray]:
        x = self._inputs(features)
        found = self._model.predict(x) if len(x) else np.zeros(0)  # scikit-learn refuses to predict nothing
        return self._scale.inverse(found), np.full(len(found), self._error)


def _error(model: Any, x: np.ndarray, y: np.ndarray, weights: np.ndarray, held: np.ndarray) -> float:
    """Root mean square error on rows held out."""
    if len(y) < 2:
        return UNKNOWN
    errors = np.zeros(len(y))
    for fold in range(held.max() + 1):
        out, rest = held == fold, held != fold
        errors[out] = _fitted(model, x[rest], y[rest], weights[rest]).predict(x[out]) - y[out]
    return float(np.sqrt(np.average(errors**2, weights=weights)))


def _fitted(model: Any, x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> Any:
    from sklearn.base import clone

    if not len(y) > 1 or np.ptp(y) == 0:  # some regressors refuse what others answer with the constant
        return _Constant(float(y.mean()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of trees that found nothing to split
        return clone(model).fit(x, y, sample_weight=weights)


class _Constant:
    def __init__(self, value: float) -> None:
        self.value = value

    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.full(len(x), self.value)


class SupportVectors(_CrossValidated):
    """Support vector regression with a squared-exponential kernel (scikit-learn's SVR).

    The penalty and the kernel's width are those with the smallest cross-validated error.
    """

    def _models(self, n: int) -> Sequence[Any]:
        from sklearn.svm import SVR

        return [SVR(C=c, gamma=gamma, epsilon=0.05) for c in (1, 10, 100) for gamma in (0.02, 0.1, 0.4)]


class GradientBoosting(_CrossValidated):
    """Gradient boosted trees (scikit-learn's HistGradientBoosting).

    Args:
        trees: how many.
    """

    def __init__(self, trees: int = 150) -> None:
        self.trees = trees

    def _models(self, n: int) -> Sequence[Any]:
        from sklearn.ensemble import HistGradientBoostingRegressor

        return [
            HistGradientBoostingRegressor(
                max_iter=self.trees, max_depth=3, min_samples_leaf=_leaf(n), early_stopping=False, random_state=0
            )
        ]


class LightGbm(_CrossValidated):
    """Gradient boosted trees of the package LightGBM (extra ``lightgbm``), whose fits are several times as fast.

    Args:
        trees: how many.
    """

    def __init__(self, trees: int = 150) -> None:
        self.trees = trees

    def _models(self, n: int) -> Sequence[Any]:
        try:
            from lightgbm import LGBMRegressor
        except ImportError:
            raise MissingExtra("lightgbm", "lightgbm", "the predictor LightGbm") from None
        return [
            LGBMRegressor(
                n_estimators=self.trees,
                max_depth=3,
                num_leaves=8,
                min_child_samples=_leaf(n),
                n_jobs=1,
                random_state=0,
                deterministic=True,
                force_row_wise=True,
                verbose=-1,
            )
        ]


def _leaf(n: int) -> int:
    """Rows that a leaf must hold: few where there are few."""
    return int(np.clip(n // 20, 3, 20))


class RandomForest(Predictor):
    """A random forest (Breiman 2001; scikit-learn's), whose trees' disagreement is the standard deviation.

    Args:
        trees: how many.
    """

    def __init__(self, trees: int = 100) -> None:
        self.trees = trees

    def fit(self, features: Features, values: np.ndarray, noise: np.ndarray | None = None) -> RandomForest:
        from sklearn.ensemble import RandomForestRegressor

        features, values, noise = in_order(features, values, noise)
        weights = weights_of(values, noise)
        self._scale = Scale.of(values, weights)
        forest = RandomForestRegressor(self.trees, max_features=0.5, random_state=0)
        self._trees = forest.fit(inputs(features), self._scale(values), sample_weight=weights).estimators_
        return self

    def predict(self, features: Features) -> tuple[np.ndarray, np.ndarray]:
        x = inputs(features).astype(np.float32)
        each = np.stack([tree.predict(x, check_input=False) for tree in self._trees])
        return self._scale.inverse(each.mean(axis=0)), each.std(axis=0) * self._scale.unit
