"""All but a few values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import NetError
from .base import Ranges


@dataclass(frozen=True)
class Percentile(Ranges):
    """The range that holds a share of the values; as many are cut off below as above.

    Args:
        percent: the share, above 50 and up to 100.
    """

    percent: float = 99.99

    def __post_init__(self) -> None:
        if not 50 < self.percent <= 100:
            raise NetError(f"percentile: percent is above 50 and up to 100, not {self.percent!r}")

    def find(self, counts: np.ndarray, edges: np.ndarray) -> tuple[float, float]:
        below = np.concatenate([[0.0], np.cumsum(counts)]) / counts.sum()
        tail = (1 - self.percent / 100) / 2
        first = np.searchsorted(below, tail, side="right") - 1
        last = np.searchsorted(below, 1 - tail - 1e-12, side="left")
        return float(edges[first]), float(edges[last])
