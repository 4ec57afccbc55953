"""What a predictor is."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np


class Predictor(ABC):
    """Learns one metric from features."""

    @abstractmethod
    def fit(self, features: np.ndarray, values: np.ndarray) -> Predictor:
        """Learn from ``features`` (n, d) and ``values`` (n,); returns itself."""

    @abstractmethod
    def predict(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the values, both of shape (n,)."""

    @abstractmethod
    def sample(self, features: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One function drawn from what is believed, at all features: shape (n,)."""
