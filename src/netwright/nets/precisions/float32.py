"""float32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from .base import FLOAT_BITS, Precision


@dataclass(frozen=True)
class Float32(Precision):
    """Nothing is rounded."""

    weights = FLOAT_BITS
    activations = FLOAT_BITS

    def round_weights(self, weight: Tensor) -> Tensor:
        return weight

    def more_bytes(self, shape: Sequence[int]) -> int:
        return 0
