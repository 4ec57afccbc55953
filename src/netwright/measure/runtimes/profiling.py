"""How often a profile is taken, and what times it says: the same for all runtimes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np

WARM_UP = 3
FEWEST_RUNS = 8


def run_repeatedly(run: Callable[[], object], seconds: float, most: int = sys.maxsize) -> None:
    """Run a network to warm up and then :data:`FEWEST_RUNS` times, and on until the time is over.

    Args:
        run: one inference.
        seconds: how long.
        most: runs after which it ends in any case.
    """
    deadline = time.perf_counter() + seconds
    for done in range(most):
        if done >= WARM_UP + FEWEST_RUNS and time.perf_counter() > deadline:
            return
        run()


def mean_times(times: np.ndarray) -> np.ndarray:
    """The mean time of each operator in the faster half of the runs, of shape (operators,), without the warm-up.

    Args:
        times: of each run, of shape (runs, operators).
    """
    times = times[WARM_UP:]
    total = times.sum(1)
    found: np.ndarray = times[total <= np.median(total)].mean(0)
    return found
