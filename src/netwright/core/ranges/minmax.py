"""The least and the greatest value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .base import Ranges


@dataclass(frozen=True)
class MinMax(Ranges):
    """From the least to the greatest value: nothing is cut off, and a single outlier makes all steps coarse."""

    whole = True

    def find(self, counts: np.ndarray, edges: np.ndarray) -> tuple[float, float]:
        return float(edges[0]), float(edges[-1])
