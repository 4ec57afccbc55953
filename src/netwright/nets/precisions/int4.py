"""Weights of 4 bits, by groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor
from torch.nn import functional as F

from .base import SCALE_BYTES
from .even import Even

GROUP = 32
"""Weights of an output channel that share a scale."""


@dataclass(frozen=True)
class Int4(Even):
    """Weights from -8 to 7 times a scale for each 32 of them along a layer's inputs; inputs are left as they are: what
    ONNX Runtime's ``MatMulNBits`` computes, with symmetric blocks. The scale is such that the largest of a group, in
    absolute value, is -8 times it."""

    weights = 4

    low, high = -8, 7

    def steps(self, rows: Tensor) -> Tensor:
        missing = -rows.shape[1] % GROUP
        groups = F.pad(rows, (0, missing)).unflatten(1, (-1, GROUP))
        largest = groups.gather(2, groups.abs().argmax(2, keepdim=True))
        steps = largest / self.low
        steps = torch.where(steps == 0, torch.ones_like(steps), steps)
        return steps.expand_as(groups).flatten(1)[:, : rows.shape[1]]

    def more_bytes(self, shape: Sequence[int]) -> int:
        return SCALE_BYTES * shape[0] * -(-prod(shape[1:]) // GROUP)
