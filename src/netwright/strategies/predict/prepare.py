"""What predictors do to records before they learn from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .encode import Features

UNEXPLAINED = 0.1
"""How far, in standard deviations of the values, a model is expected to miss where nothing is known yet."""

FOLDS = 5
"""Parts of the records, each of which is held out once."""
UNKNOWN = 1.0
"""Standard deviation, in deviations of the values, where there is nothing to hold out."""


@dataclass(frozen=True)
class Scale:
    """Columns or values of mean 0 and deviation 1; what never varied becomes 0, also where it varies later.

    Args:
        mean: the mean of the columns, shape (columns,) or ().
        deviation: the deviation of the columns; infinite where they do not vary.
    """

    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def of(cls, data: np.ndarray, weights: np.ndarray | None = None) -> Scale:
        """The scale of data of shape (n, ...), whose rows may have weights of shape (n,)."""
        mean = np.average(data, axis=0, weights=weights)
        deviation = np.sqrt(np.average((data - mean) ** 2, axis=0, weights=weights))
        varies = deviation > 1e-9 * np.abs(data).max(axis=0)
        return cls(mean, np.where(varies, deviation, np.inf))

    def __call__(self, data: np.ndarray) -> np.ndarray:
        return (data - self.mean) / self.deviation

    def inverse(self, scaled: np.ndarray) -> np.ndarray:
        """Values that stand at these on this scale."""
        return scaled * self.unit + self.mean

    @property
    def unit(self) -> float:
        """One deviation of values: how much a value of 1 on this scale means; 1 if they do not vary."""
        return float(self.deviation) if np.isfinite(self.deviation) else 1.0


PARTS = ("positions", "totals", "regions", "costs")


def inputs(features: Features) -> np.ndarray:
    """What models without structure read of candidates, side by side, shape (n, columns)."""
    return np.hstack([getattr(features, part) for part in PARTS])


@dataclass(frozen=True)
class Inputs:
    """The same for models that compare distances: each part of total variance 1.

    So the few costs, each of which tells more than any one choice, are not drowned by the many choices.

    Args:
        scale: the scale of the columns.
        weights: the weights of the columns.
    """

    scale: Scale
    weights: np.ndarray

    @classmethod
    def of(cls, features: Features, weights: np.ndarray) -> Inputs:
        """The inputs of records whose rows have weights of shape (n,)."""
        scale = Scale.of(inputs(features), weights)
        sizes = [getattr(features, part).shape[1] for part in PARTS]
        parts = np.split(np.isfinite(scale.deviation), np.cumsum(sizes)[:-1])
        shares = [np.full(len(vary), 1 / np.sqrt(max(vary.sum(), 1))) for vary in parts]
        return cls(scale, np.concatenate(shares))

    def __call__(self, features: Features) -> np.ndarray:
        return self.scale(inputs(features)) * self.weights


def in_order(
    features: Features, values: np.ndarray, noise: np.ndarray | None
) -> tuple[Features, np.ndarray, np.ndarray | None]:
    """The same records in an order of their own, so that what is learnt does not depend on the order given."""
    columns = [values, *features.matrix.T] if noise is None else [values, noise, *features.matrix.T]
    order = np.lexsort(columns)
    return features[order], values[order], None if noise is None else noise[order]


def weights_of(values: np.ndarray, noise: np.ndarray | None) -> np.ndarray:
    """How much each value counts, of mean 1: the inverse of its variance and of what no model explains."""
    if noise is None:
        return np.ones(len(values))
    variance = noise**2 + max(UNEXPLAINED * float(values.std()), 1e-9 * float(np.abs(values).max()), 1e-300) ** 2
    weights = variance.min() / variance
    return weights / weights.mean()


def folds_of(n: int, folds: int, seed: int) -> np.ndarray:
    """In which of the folds each of n rows is held out, integers of shape (n,); no fold is empty if n allows."""
    return np.random.default_rng(seed).permutation(n) % max(min(folds, n), 1)
