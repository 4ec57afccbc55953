"""What several blocks are made of."""

from __future__ import annotations

from torch import nn

from ..families.parts import unit


def conv_norm(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, *, groups: int = 1) -> nn.Module:
    """A convolution that keeps the size of the image, but for its stride, and batch normalisation."""
    return unit(inputs, outputs, kernel, stride, kernel // 2, groups=groups, eps=1e-5)
