"""Two values."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .base import Precision, per_channel, straight_through


@dataclass(frozen=True)
class Binary(Precision):
    """Weights are -a or a, with an ``a`` for each output channel: the mean of the absolute weights (Rastegari et al.
    2016, arXiv 1603.05279, binary weights); inputs are left as they are."""

    weights = 1

    def round_weights(self, weight: Tensor) -> Tensor:
        factor = per_channel(weight.detach().abs(), torch.mean)
        return straight_through(weight, torch.where(weight < 0, -factor, factor))
