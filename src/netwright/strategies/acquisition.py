"""Acquisition: the batch that is expected to add most to the hypervolume of the front."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..core.front import nondominated

DRAWS = 10000
"""Points drawn in the box that may be won."""
SAMPLES = 2000
"""Points that remain to judge by, at most."""
SCARCE = 1000
"""Where fewer remain, as many are drawn where alone something can still be won."""
MARGIN = 0.1
"""How far the box reaches beyond what is known, relative to its size."""
OPTIMISM = 2.0
"""Standard deviations by which a candidate may be better than expected before a point is given up."""


def promising(expected: np.ndarray, std: np.ndarray, found: np.ndarray, optimism: float = OPTIMISM) -> np.ndarray:
    """Which candidates may add to a front of ``found``, bool of shape (n,); arguments as for
    :class:`ExpectedHypervolumeImprovement`."""
    return ~dominated(expected - optimism * std, found)


class ExpectedHypervolumeImprovement:
    """Expected hypervolume improvement, by points spread evenly over the volume that may still be won: the share of
    them that a candidate would newly dominate stands for the volume that it would add (as in HypE, Bader and Zitzler
    2011), for any number of objectives.

    Objectives that are predicted are normal and independent, so that a candidate dominates a point with a probability;
    the sum of these over the points, each weighed with the probability that no candidate chosen before dominates it,
    is the expected improvement of the hypervolume by the batch.

    Args:
        found: losses of all that was measured, shape (n, objectives): the box that may be won reaches as far.
        expected: losses of candidates, shape (candidates, objectives).
        std: their standard deviations.
        rng: the random generator of the points.
        optimism: standard deviations by which a candidate may be better than expected.
        weight: the weight of points, shape (n, objectives): how much winning each means, shape (n,).
    """

    def __init__(
        self,
        found: np.ndarray,
        expected: np.ndarray,
        std: np.ndarray,
        rng: np.random.Generator,
        optimism: float = OPTIMISM,
        weight: Callable[[np.ndarray], np.ndarray] = lambda points: np.ones(len(points)),
    ) -> None:
        known = found if len(found) else expected
        low, high = np.minimum(known.min(axis=0), expected.min(axis=0)), known.max(axis=0)
        found = found[nondominated(found)]
        reach = np.where(high > low, high - low, 1.0)
        low, high = low - MARGIN * reach, high + MARGIN * reach
        points = low + (high - low) * rng.random((DRAWS, len(low)))
        points = points[~dominated(points, found)]
        best = expected - optimism * std
        best = best[nondominated(best)]
        points = points[dominated(points, best)][:SAMPLES]
        weights = np.ones(len(points))
        if len(points) < SCARCE:
            points, weights = _between(np.maximum(best, low), found, high, rng)
        self._points = points
        self.undominated = weights * weight(points)
        """The probability that nothing that was taken dominates each point, times the weight of the point."""

    def domination_probability(self, expected: np.ndarray, std: np.ndarray) -> np.ndarray:
        """The probability that each candidate dominates each point, shape (candidates, points)."""
        from scipy.special import ndtr

        found = np.ones((len(expected), len(self._points)))
        for mean, deviation, at in zip(expected.T, std.T, self._points.T, strict=True):
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


def _between(best: np.ndarray, found: np.ndarray, high: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Points that one of ``best`` dominates and none of ``found`` does, and the weights that make them even.

    What a candidate can win lies in a box: along each axis, it ends at the first of what was found that is no worse
    in all the others.
    """
    ends = np.empty_like(best)
    for axis in range(len(high)):
        others = np.delete(np.arange(len(high)), axis)
        below = np.all(found[None, :, others] <= best[:, None, others], axis=2)
        ends[:, axis] = np.min(np.where(below, found[:, axis], np.inf), axis=1, initial=high[axis])
    sizes = np.prod(np.maximum(ends - best, 0) / np.maximum(high - best.min(axis=0), 1e-300), axis=1)
    if not sizes.sum() > 0:
        return np.empty((0, len(high))), np.empty(0)
    boxes = rng.choice(len(best), size=2 * SCARCE, p=sizes / sizes.sum())
    points = best[boxes] + (ends - best)[boxes] * rng.random((len(boxes), len(high)))
    points = points[~dominated(points, found)][:SCARCE]
    covered = np.zeros(len(points))
    for low, end in zip(best[sizes > 0], ends[sizes > 0], strict=True):
        covered += np.all((low <= points) & (points <= end), axis=1)
    return points, 1 / np.maximum(covered, 1)
