"""Few bits, evenly spaced."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ...core.errors import NetError
from .base import FLOAT_BITS
from .even import Even, symmetric_steps


@dataclass(frozen=True)
class Uniform(Even):
    """Weights of 2 to 8 bits, evenly spaced on both sides of 0, with a scale for each output channel: for study, as
    runtimes have no kernels for most of them.

    Args:
        weights: bits of a weight, 2 to 8.
        activations: bits of an input, 2 to 8; 32 leaves inputs as they are.
    """

    weights: int = 4
    activations: int = 8

    def __post_init__(self) -> None:
        few = range(2, 9)
        if self.weights not in few:
            raise NetError(f"uniform: weights is 2 to 8 bits, not {self.weights!r}; binary has 1, float32 has 32")
        if self.activations not in (*few, FLOAT_BITS):
            raise NetError(f"uniform: activations is 2 to 8 bits, or 32 to leave them, not {self.activations!r}")

    @property
    def high(self) -> int:  # type: ignore[override]
        return 2 ** (self.weights - 1) - 1

    @property
    def low(self) -> int:  # type: ignore[override]
        return -self.high

    def steps(self, rows: Tensor) -> Tensor:
        return symmetric_steps(rows, self.high)
