"""Efficient modulation (Ma et al. 2024, "Efficient Modulation for Vision Networks", arXiv 2403.19963)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from ..units import check_windows, hidden_channels
from .parts import conv_norm, transition


class Modulation(nn.Module):
    """EfficientMod: values of each position times a context of its surroundings; the input is added (arXiv 2403.19963).

    The context is a 1x1 convolution, a depthwise one, GELU, and a 1x1 convolution. Values and context are as wide as
    the hidden layer of an MLP, whose place the block takes too. Batch normalisation stands where the paper has layer
    normalisation: it disappears in the convolutions on a device.

    Args:
        inputs, outputs, stride: see :mod:`netwright.nets.blocks`; a change of either is a convolution before.
        expansion: channels of values and context, as a multiple of ``outputs``.
        kernel: the window of the depthwise convolution.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1, expansion: float = 4, kernel: int = 7) -> None:
        super().__init__()
        check_windows(kernel=kernel)
        self.enter = transition(inputs, outputs, stride)
        hidden = hidden_channels(outputs, expansion)
        self.norm = nn.BatchNorm2d(outputs)
        self.reduce = nn.Conv2d(outputs, outputs, 1)
        self.around = nn.Conv2d(outputs, outputs, kernel, padding=kernel // 2, groups=outputs)
        self.context = nn.Conv2d(outputs, hidden, 1)
        self.value = nn.Conv2d(outputs, hidden, 1)
        self.project = conv_norm(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        y = self.norm(x)
        context = self.context(F.gelu(self.around(self.reduce(y))))
        return x + self.project(context * self.value(y))
