"""The least loss of information."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .base import LEVELS, Ranges, least_loss, level_of, middles


@dataclass(frozen=True)
class Entropy(Ranges):
    """The range for which the distribution of the values in 8 bits is nearest to their own, by the Kullback-Leibler
    divergence (Migacz 2017, "8-bit inference with TensorRT")."""

    def find(self, counts: np.ndarray, edges: np.ndarray) -> tuple[float, float]:
        values = middles(edges)
        others = np.where((edges[:-1] <= 0) & (edges[1:] >= 0), 0, counts)  # 0 itself is not rounded, however many
        counts = others if others.any() else counts

        def loss(low: float, high: float) -> float:
            within = (values >= low) & (values <= high)
            own = counts[within].astype(np.float64)
            if not own.any():
                return np.inf
            clipped = own.copy()
            clipped[0] += counts[values < low].sum()
            clipped[-1] += counts[values > high].sum()
            level, some = level_of(values[within], low, high), own > 0
            held = np.bincount(level, own, LEVELS) / np.maximum(np.bincount(level, some, LEVELS), 1)
            rounded = np.where(some, held[level], 0.0)  # spread evenly over the bins that hold any
            return _divergence(clipped / clipped.sum(), rounded / rounded.sum())

        return least_loss(edges, loss)


def _divergence(one: np.ndarray, other: np.ndarray) -> float:
    held = one > 0
    return float((one[held] * np.log(one[held] / np.maximum(other[held], 1e-12))).sum())
