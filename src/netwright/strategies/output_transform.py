"""Output transforms: how values are changed before a surrogate learns them, so that one length scale fits them all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

WIDE = 2.5
"""How many times its least value a metric spans, to be learned by factors."""
OUTLIER = 5.0
"""Interquartile ranges beyond the median from which on worse is as good as bad."""


@dataclass(frozen=True)
class OutputTransform:
    """A rising function of losses: from some loss on, what is worse counts on a logarithmic scale.

    Args:
        by_factors: whether losses, all positive, are turned into their logarithms first.
        bend: where the logarithmic scale begins.
        reach: how far beyond the bend a loss counts about as far as it is; 0 for no bend.
        middle: the median of the losses, as they stand before the bend.
    """

    by_factors: bool
    bend: float
    reach: float
    middle: float

    @classmethod
    def candidates(cls, losses: np.ndarray, positive: bool) -> list[OutputTransform]:
        """The transforms that losses may be learned in.

        - As they are, but for outliers.
        - Compressed from the median on: networks that are broken (at chance, for instance) fill the range, and what
          tells the good half apart would not be seen.
        - Where they are of a ``positive`` metric that spans several times its least value, such as a latency: by
          factors, since that is how networks get slower.
        """
        found = []
        wide = positive and losses.min() > 0 and losses.max() > WIDE * losses.min()
        for by_factors in (True,) if wide else (False,):
            low, middle, high = np.percentile(np.log(losses) if by_factors else losses, [25, 50, 75]).tolist()
            found.append(cls(by_factors, middle + OUTLIER * (high - low), high - low, middle))
            if middle > low:
                found.append(cls(by_factors, middle, middle - low, middle))
        return found

    def transform(self, losses: np.ndarray) -> np.ndarray:
        """Losses as they are learned."""
        if self.by_factors:
            losses = np.log(np.maximum(losses, np.finfo(float).tiny))
        if not self.reach > 0:
            return losses
        beyond = np.maximum(losses - self.bend, 0)
        return losses - beyond + self.reach * np.log1p(beyond / self.reach)

    def inverse(self, transformed: np.ndarray) -> np.ndarray:
        """The losses that are learned as these."""
        if self.reach > 0:
            beyond = np.maximum(transformed - self.bend, 0)
            transformed = transformed - beyond + self.reach * np.expm1(np.minimum(beyond / self.reach, 50.0))
        return np.exp(np.minimum(transformed, 700.0)) if self.by_factors else transformed

    def log_slope(self, losses: np.ndarray) -> np.ndarray:
        """The logarithm of the slope at losses: what a density of transformed losses is multiplied with."""
        found = np.zeros(len(losses))
        if self.by_factors:
            losses = np.log(np.maximum(losses, np.finfo(float).tiny))
            found -= losses
        if self.reach > 0:
            found -= np.log1p(np.maximum(losses - self.bend, 0) / self.reach)
        return found

    def weight(self, transformed: np.ndarray) -> np.ndarray:
        """How much a step of transformed losses means in the metric, the bend left aside."""
        return np.exp(transformed - self.middle) if self.by_factors else np.ones(len(transformed))
