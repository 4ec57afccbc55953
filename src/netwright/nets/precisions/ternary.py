"""Three values."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .base import Precision, per_channel, straight_through

THRESHOLD = 0.7
"""Of the mean of the absolute weights: what lies below is 0."""


@dataclass(frozen=True)
class Ternary(Precision):
    """Weights are -a, 0 or a, with an ``a`` for each output channel (Li and Liu 2016, arXiv 1605.04711: the threshold
    is 0.7 times the mean of the absolute weights, ``a`` the mean of those above it); inputs are left as they are."""

    weights = 2

    def round_weights(self, weight: Tensor) -> Tensor:
        sizes = weight.detach().abs()
        above = sizes > THRESHOLD * per_channel(sizes, torch.mean)
        number = per_channel(above.to(sizes.dtype), torch.sum).clamp(min=1)
        factor = per_channel(sizes * above, torch.sum) / number
        return straight_through(weight, weight.sign() * above * factor)
