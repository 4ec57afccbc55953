"""How good predictions are, on records that the predictor has not seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .base import Predictor
from .encode import Features
from .prepare import folds_of, in_order

Z95 = 1.959964
"""Half the width of a 95 % interval of a normal distribution, in standard deviations."""


@dataclass(frozen=True)
class Scores:
    """Of predictions beside what was measured.

    Args:
        kendall, spearman: rank correlations, from -1 to 1; 0 where nothing varies.
        rmse: root of the mean squared error, in units of the values.
        calibration: share of the values within the stated 95 % interval; 0.95 is right, less is too sure of itself.
        surprise: mean of the squared errors over the stated variances; 1 is right, more is too sure of itself.
    """

    kendall: float
    spearman: float
    rmse: float
    calibration: float
    mean_squared_z: float


def scores(mean: np.ndarray, std: np.ndarray, values: np.ndarray) -> Scores:
    """Judge predictions.

    Args:
        mean: what was predicted, shape (n,), n at least 1.
        std: the standard deviations stated with it, shape (n,).
        values: what was found, shape (n,).
    """
    from scipy.stats import spearmanr

    error = np.abs(mean - values)
    # A standard deviation of 0 is a claim to know: it holds where the error is no more than rounding.
    least = np.maximum(std, 1e-9 * np.maximum(np.abs(values), 1e-30))
    varied = bool(np.ptp(mean) > 0 and np.ptp(values) > 0)
    return Scores(
        kendall=kendall(mean, values),
        spearman=float(spearmanr(mean, values).statistic) if varied else 0.0,
        rmse=float(np.sqrt(np.mean(error**2))),
        calibration=float(np.mean(error <= Z95 * least)),
        mean_squared_z=float(np.mean((error / least) ** 2)),
    )


def kendall(mean: np.ndarray, values: np.ndarray) -> float:
    """Kendall's rank correlation (tau b); 0 where nothing varies."""
    from scipy.stats import kendalltau

    return float(kendalltau(mean, values).statistic) if np.ptp(mean) > 0 and np.ptp(values) > 0 else 0.0


def out_of_fold(
    make: Callable[[], Predictor],
    features: Features,
    values: np.ndarray,
    noise: np.ndarray | None = None,
    folds: int = 5,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of every row, each predicted by a fit to the other folds; shapes (n,).

    Args:
        make: a new predictor.
        features, values, noise: the records, n of them, at least 2.
        folds: into how many parts they are split; at most n.
        seed: the seed of the split.
    """
    if len(values) < 2 or folds < 2:
        raise ValueError(f"cross-validation needs at least 2 records and 2 folds, not {len(values)} and {folds}")
    held = folds_of(len(values), folds, seed)
    mean, std = np.zeros(len(values)), np.zeros(len(values))
    for fold in range(held.max() + 1):
        out, rest = held == fold, held != fold
        model = make().fit(features[rest], values[rest], None if noise is None else noise[rest])
        mean[out], std[out] = model.predict(features[out])
    return mean, std


def held_out(
    make: Callable[[], Predictor],
    features: Features,
    values: np.ndarray,
    noise: np.ndarray | None = None,
    folds: int = 5,
    seed: int = 0,
) -> Scores:
    """Cross-validated scores of a predictor on a history; see :func:`out_of_fold`. The order of rows is no matter."""
    features, values, noise = in_order(features, values, noise)
    return scores(*out_of_fold(make, features, values, noise, folds, seed), values)
