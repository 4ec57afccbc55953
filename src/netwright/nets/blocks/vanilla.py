"""VanillaNet's block (Chen et al. 2023, arXiv 2305.12972): shallow once it is trained.

Two 1x1 convolutions with an activation between them, which training turns into none (section 3.1, "deep training
strategy"), so that the two become one; then the series activation (section 3.2), whose bases are shifted in space: a
depthwise window on what ReLU lets through.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..annealing import Annealed
from ..units import check_positive
from .merging import merged
from .parts import conv_norm


class Vanilla(Annealed):
    """Two 1x1 convolutions that become one, pooling, and a series activation.

    Args:
        inputs, outputs, stride: see :mod:`netwright.nets.blocks`; where the stride is above 1 the largest of each
            square is taken.
        order: of the series activation: its window is ``2 * order + 1``.
        until: see :class:`~netwright.nets.annealing.Annealed`.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1, order: int = 3, until: float = 0.8) -> None:
        super().__init__(until)
        check_positive(inputs=inputs, outputs=outputs, stride=stride, order=order)
        self.first, self.second = conv_norm(inputs, inputs), conv_norm(inputs, outputs)
        self.pool = nn.MaxPool2d(stride, ceil_mode=True) if stride > 1 else nn.Identity()
        self.series = conv_norm(outputs, outputs, 2 * order + 1, groups=outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        y = self.second(torch.maximum(y, self.share * y))  # ReLU at first, in the end nothing
        return self.series(F.relu(self.pool(y)))

    def folded(self) -> nn.Module:
        """One 1x1 convolution, pooling, ReLU and a depthwise convolution; itself while the activation is there."""
        if not self.complete:
            return self
        return nn.Sequential(_product(self.first, self.second), self.pool, nn.ReLU(), merged([self.series]))


def _product(first: nn.Module, second: nn.Module) -> nn.Conv2d:
    """The 1x1 convolution that computes what two, one behind the other, compute."""
    inner, outer = merged([first]), merged([second])
    made = nn.Conv2d(inner.in_channels, outer.out_channels, 1)
    after = outer.weight[:, :, 0, 0]
    made.weight.copy_((after @ inner.weight[:, :, 0, 0])[:, :, None, None])
    made.bias.copy_(after @ inner.bias + outer.bias)  # type: ignore[union-attr, operator]
    return made
