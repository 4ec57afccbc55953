"""One rise to a high rate and one fall to next to nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .base import Schedule, require_share


@dataclass(frozen=True)
class OneCycle(Schedule):
    """Smith and Topin, "Super-convergence" (2019), with cosines in place of lines; momentum stays as it is.

    Args:
        rise: the share of the steps in which the rate rises.
        start: the rate at the beginning, as a share of the highest.
        end: the rate in the end, as a share of the highest.
    """

    rise: float = 0.3
    start: float = 0.04
    end: float = 4e-6

    def __post_init__(self) -> None:
        require_share("rise", self.rise)

    def share(self, step: int, steps: int) -> float:
        peak = self.rise * (steps - 1)
        if step < peak:
            return _between(self.start, 1.0, step / peak)
        return _between(1.0, self.end, (step - peak) / max(1.0, steps - 1 - peak))


def _between(low: float, high: float, way: float) -> float:
    return high + (low - high) * 0.5 * (1 + math.cos(math.pi * way))
