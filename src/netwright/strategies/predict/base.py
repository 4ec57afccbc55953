"""What a predictor is."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from .encode import Features


class Predictor(ABC):
    """Learns one metric from the features of candidates."""

    @abstractmethod
    def fit(self, features: Features, values: np.ndarray, noise: np.ndarray | None = None) -> Predictor:
        """Learn, and return itself.

        Args:
            features: the features of the n measured candidates.
            values: what was found, shape (n,).
            noise: standard deviations of the values, shape (n,), where they are known: which to trust more.
        """

    @abstractmethod
    def predict(self, features: Features) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the values, both of shape (n,)."""
