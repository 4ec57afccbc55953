"""Where a training stands."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

State = dict[str, Tensor]
"""What a rule remembers from step to step; kept by checkpoints."""


@dataclass(frozen=True)
class Step:
    """Which step of how many.

    Args:
        step, steps: of the whole training, counted from 0; a step is a batch.
        epoch, epochs: counted from 0.
    """

    step: int = 0
    steps: int = 1
    epoch: int = 0
    epochs: int = 1

    @property
    def share(self) -> float:
        """How far the training has got, from 0 to 1."""
        return self.step / max(1, self.steps - 1)
