"""The least error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .base import LEVELS, Ranges, least_loss, middles


@dataclass(frozen=True)
class Mse(Ranges):
    """The range for which 8 bits lose least, in the mean square over all values, cut off or rounded."""

    def find(self, counts: np.ndarray, edges: np.ndarray) -> tuple[float, float]:
        values = middles(edges)

        def loss(low: float, high: float) -> float:
            step = (high - low) / (LEVELS - 1)
            # What is rounded within a step is lost evenly, a twelfth of its square; what is cut off, whole.
            beyond = np.maximum(values - high, 0) + np.maximum(low - values, 0)
            return float((counts * np.where(beyond > 0, beyond**2, step**2 / 12)).sum())

        return least_loss(edges, loss)
