"""The batch that is expected to add most to the hypervolume of the front."""

from __future__ import annotations

import numpy as np

from ..core.front import nondominated

DRAWS = 10000
"""Points drawn in the box that may be won."""
SAMPLES = 3000
"""Points that remain to judge by."""
MARGIN = 0.1
"""How far the box reaches beyond what is known, relative to its size."""
HOPE = 2.0
"""Standard deviations by which a candidate may be better than expected before a point is given up."""


def hopeful(expected: np.ndarray, spread: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Which candidates may add to a front of ``found``, bool of shape (n,); arguments as :class:`Volume` has them."""
    hope = expected - HOPE * spread
    return np.array([not np.all(found <= own, axis=1).any() for own in hope], dtype=bool)


class Volume:
    """Points spread evenly over what may still be won: the share of them that a candidate would newly dominate
    stands for the volume that it would add (as in HypE, Bader and Zitzler 2011), for any number of objectives.

    Objectives that are predicted are normal and independent, so that a candidate dominates a point with a probability;
    the sum of these over the points, each weighed with the probability that no candidate chosen before dominates it,
    is the expected improvement of the hypervolume by the batch.

    Args:
        found: losses of what was measured, shape (n, objectives).
        expected: losses of candidates, shape (candidates, objectives).
        spread: their standard deviations.
        rng: of the points.
    """

    def __init__(self, found: np.ndarray, expected: np.ndarray, spread: np.ndarray, rng: np.random.Generator) -> None:
        known = found if len(found) else expected
        low, high = np.minimum(known.min(axis=0), expected.min(axis=0)), known.max(axis=0)
        reach = np.where(high > low, high - low, 1.0)
        points = low - MARGIN * reach + (1 + 2 * MARGIN) * reach * rng.random((DRAWS, len(low)))
        points = points[~dominated(points, found)]
        hope = expected - HOPE * spread
        points = points[dominated(points, hope[nondominated(hope)])]
        self._points = points[:SAMPLES]
        self.open = np.ones(len(self._points))
        """The probability that nothing that was taken dominates each point."""

    def chances(self, expected: np.ndarray, spread: np.ndarray) -> np.ndarray:
        """The probability that each candidate dominates each point, shape (candidates, points)."""
        from scipy.special import ndtr

        found = np.ones((len(expected), len(self._points)))
        for mean, deviation, at in zip(expected.T, spread.T, self._points.T, strict=True):
            if deviation.any():
                found *= ndtr((at[None, :] - mean[:, None]) / np.maximum(deviation, 1e-12)[:, None])
            else:
                found *= mean[:, None] <= at[None, :]
        return found


def dominated(points: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Which points are no better than one of ``by`` in any objective, bool of shape (points,)."""
    covered = np.zeros(len(points), dtype=bool)
    for other in by:
        covered |= np.all(other <= points, axis=1)
    return covered
