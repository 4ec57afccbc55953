"""What finds a range, of a histogram."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np

BINS = 2048
"""Of a histogram between the least and the greatest value."""

LEVELS = 256
"""Values that 8 bits have."""

TRIED = np.geomspace(1.0, 0.02, 81)
"""Shares of the whole range of a side of 0 that are tried."""


class Ranges(ABC):
    """How the range of an activation is found from the values that calibration inputs bring.

    Attributes:
        whole: whether the least and the greatest value are all that it needs: then no histogram is made.
    """

    whole: bool = False

    @abstractmethod
    def find(self, counts: np.ndarray, edges: np.ndarray) -> tuple[float, float]:
        """The range, within that of the histogram.

        Args:
            counts: how many values lie in each bin, of shape (bins,), not all 0.
            edges: of the bins, ascending, of shape (bins + 1,).
        """


def least_loss(edges: np.ndarray, loss: Callable[[float, float], float]) -> tuple[float, float]:
    """The range of the least loss: first how far it goes above 0, then how far below."""
    low, high = min(float(edges[0]), 0.0), max(float(edges[-1]), 0.0)
    high = min((high * share for share in TRIED), key=lambda upper: loss(low, upper)) if high else high
    low = min((low * share for share in TRIED), key=lambda lower: loss(lower, high)) if low else low
    return float(low), float(high)


def middles(edges: np.ndarray) -> np.ndarray:
    """Of the bins."""
    return (edges[:-1] + edges[1:]) / 2


def level_of(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Which of the values that 8 bits have between two limits is nearest, as a whole number from 0 on."""
    step = (high - low) / (LEVELS - 1) or 1.0
    return np.clip(np.rint((values - low) / step), 0, LEVELS - 1).astype(np.int64)
