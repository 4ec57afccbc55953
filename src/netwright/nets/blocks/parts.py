"""What several blocks are made of."""

from __future__ import annotations

from torch import nn

from ..families.parts import unit


def conv_norm(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, *, groups: int = 1, dilation: int = 1
) -> nn.Module:
    """A convolution that keeps the size of the image, but for its stride, and batch normalisation."""
    padding = dilation * (kernel // 2)
    return unit(inputs, outputs, kernel, stride, padding, groups=groups, dilation=dilation, eps=1e-5)
