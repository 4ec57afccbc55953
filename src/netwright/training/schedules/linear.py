"""A warm-up, then a straight line down to zero."""

from __future__ import annotations

from dataclasses import dataclass

from .base import Schedule, require_share, warming


@dataclass(frozen=True)
class Linear(Schedule):
    """Linear warm-up, then linear decay, as BERT and its kind are fine-tuned (Devlin et al., 2019).

    Args:
        warmup: the share of the steps in which the rate rises; at least one step, unless 0.
        end: what is left of the rate in the end, as a share.
    """

    warmup: float = 0.1
    end: float = 0.0

    def __post_init__(self) -> None:
        require_share("warmup", self.warmup)

    def share(self, step: int, steps: int) -> float:
        warm, rest = warming(step, steps, self.warmup)
        return warm * (1 - (1 - self.end) * rest)
