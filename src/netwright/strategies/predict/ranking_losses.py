"""Losses for networks that are to rank: their gradients with respect to the outputs.

Every loss takes the outputs of several networks, shape (networks, n), the standardised values, shape (n,), and how
much each network counts each row, shape (networks, n); it returns the gradient of each network's mean loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

LossGradient = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]

STEEPNESS = 2.0
"""Of the curve that stands for the sign of a difference of standardised values, in :func:`kendall`."""


def squared(outputs: np.ndarray, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Half the squared error: to predict values, not only their order."""
    total = np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
    return weights * (outputs - values) / total


def pairwise(outputs: np.ndarray, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Cross-entropy of which of two is better, its probability the sigmoid of the outputs' difference (RankNet;
    Burges et al. 2005)."""
    apart = outputs[:, :, None] - outputs[:, None, :]
    better = np.sign(values[:, None] - values[None, :])
    # d/dx log(1 + exp(-better x)), of ties 0
    slope = -better / (1 + np.exp(np.clip(better * apart, -30, 30)))
    return _over_pairs(slope, weights)


def kendall(outputs: np.ndarray, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Minus a differentiable Kendall's tau: the signs of its differences are smoothed to hyperbolic tangents
    (DiffKendall, as in ParZC; Dong et al. 2024)."""
    smooth = np.tanh(STEEPNESS / 2 * (outputs[:, :, None] - outputs[:, None, :]))
    true = np.tanh(STEEPNESS / 2 * (values[:, None] - values[None, :]))
    return _over_pairs(-STEEPNESS / 2 * (1 - smooth**2) * true, weights)


def _over_pairs(slope: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The gradient of the mean over pairs, given the slope of each in its difference, antisymmetric in the pair."""
    total = np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
    return 2 * weights * np.einsum("mij,mj->mi", slope, weights) / total**2


LOSS_GRADIENTS: Mapping[str, LossGradient] = {"squared": squared, "pairwise": pairwise, "kendall": kendall}
