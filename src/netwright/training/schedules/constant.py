"""The same rate throughout."""

from __future__ import annotations

from dataclasses import dataclass

from .base import Schedule, require_share, warming


@dataclass(frozen=True)
class Constant(Schedule):
    """The same rate throughout, after a warm-up if one is wanted.

    Args:
        warmup: the share of the steps in which the rate rises.
    """

    warmup: float = 0.0

    def __post_init__(self) -> None:
        require_share("warmup", self.warmup)

    def share(self, step: int, steps: int) -> float:
        return warming(step, steps, self.warmup)[0]
