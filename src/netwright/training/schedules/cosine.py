"""A warm-up, then a cosine down to zero."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .base import Schedule, require_share, warming


@dataclass(frozen=True)
class Cosine(Schedule):
    """Linear warm-up, then half a cosine (Loshchilov and Hutter, "SGDR", 2017, without restarts).

    Args:
        warmup: the share of the steps in which the rate rises; at least one step, unless 0.
        end: what is left of the rate in the end, as a share.
    """

    warmup: float = 0.05
    end: float = 0.0

    def __post_init__(self) -> None:
        require_share("warmup", self.warmup)

    def share(self, step: int, steps: int) -> float:
        warm, rest = warming(step, steps, self.warmup)
        return warm * (self.end + (1 - self.end) * 0.5 * (1 + math.cos(math.pi * rest)))
