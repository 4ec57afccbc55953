"""What a network would take with the memory as fast as baseline.

Neighbours who use the last cache and the memory of a shared host slow networks down for seconds to minutes, and not all
alike: those that fit a core's own cache not at all, others by half. So the workload that reads as much memory as such
networks do (:mod:`netwright.measure.reference`) runs between rounds of a measurement. How much a network is slowed
where that workload is, is seen from these rounds; how fast the memory usually is, from earlier measurements
(:mod:`netwright.measure.baseline`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, sqrt

import numpy as np

FEWEST_ROUNDS = 8
"""Rounds that :func:`sensitivity` needs at least."""

MOST_SENSITIVE = 1.5
"""Of ten networks (``benchmarks/repeatability.py``), the one that reads most memory in the least time slowed down by
1.3 % for each per cent over an hour."""

UNSURE, UNKNOWN = 0.8, 0.3
"""Half the 95 % interval of :func:`sensitivity`, relative; and what it may be where it is not known: that of networks
of which few calls are made in a second."""

STEADY = 0.005
"""The least scatter of the memory from round to round, relative, from which something is seen."""

FARTHEST = 0.4
"""The logarithm of how much slower than usual the memory may be for networks to follow it as they do nearby."""


@dataclass(frozen=True)
class Baseline:
    """What the reference workloads take on a machine in the long run.

    Args:
        core, memory: their CPU times in ms.
        error: half the 95 % interval of that of memory, relative.
    """

    core: float
    memory: float
    error: float = 0.0


@dataclass(frozen=True)
class Correction:
    """How much slower a network was than it is with the memory as baseline.

    Args:
        by: the logarithm.
        error: half its 95 % interval.
        sensitivity: see :func:`sensitivity`.
    """

    by: float = 0.0
    error: float = 0.0
    sensitivity: float | None = None


def estimate_correction(rounds: Sequence[Sequence[float]], memory: Sequence[float], baseline: Baseline) -> Correction:
    """By how much a measurement is to be corrected; the arguments are those of :func:`sensitivity`."""
    shift = float(np.clip(log(float(np.median(memory)) / baseline.memory), -FARTHEST, FARTHEST))
    slope = sensitivity(rounds, memory)
    if slope is None:
        return Correction(0.0, UNKNOWN * abs(shift))
    return Correction(slope * shift, slope * float(np.hypot(UNSURE * shift, baseline.error)), slope)


def sensitivity(rounds: Sequence[Sequence[float]], memory: Sequence[float]) -> float | None:
    """By how many per cent a network slows down where the workload that reads memory takes 1 % longer.

    The slope of the reduced major axis of logarithms: the scatter of the network's times over that of the workload's,
    round by round. That of regression is far too low, since both are read one after the other, and the state of a
    memory changes in between. What does not come from memory is kept out: by how much a round's median is uncertain
    from its own samples is taken off, and interruptions count as three standard deviations at most.

    Args:
        rounds: the times of each round's samples.
        memory: the workload's time before each round.

    Returns:
        :data:`MOST_SENSITIVE` at most. None where there are too few rounds to tell, where the memory is so steady that
        they tell nothing, or where a clock stood still.
    """
    if len(rounds) < FEWEST_ROUNDS or min(map(min, rounds)) <= 0:
        return None
    scatter = _scatter(np.log(memory))
    if scatter < STEADY:
        return None
    times = _scatter(np.log([np.median(each) for each in rounds]))
    own = float(np.mean([_error(np.log(each)) ** 2 for each in rounds]))
    return min(MOST_SENSITIVE, sqrt(max(0.0, times**2 - own)) / scatter)


def _error(samples: np.ndarray) -> float:
    """The standard error of a median of samples, by their median absolute deviation."""
    return 1.2533 * 1.4826 * float(np.median(np.abs(samples - np.median(samples)))) / sqrt(len(samples))


def _scatter(values: np.ndarray) -> float:
    """Standard deviation, Winsorised at three of them by the median absolute deviation."""
    middle = np.median(values)
    reach = 3 * 1.4826 * np.median(np.abs(values - middle))
    return float(np.std(np.clip(values, middle - reach, middle + reach)))
