"""The residual network for CIFAR of MLPerf Tiny (Banbury et al. 2021), with the padding of its published weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..axes import Axis, Depth, Width, fractions
from ..supernet import SuperNet
from ..units import check_positive
from .parts import halve, same

WIDTHS = (16, 32, 64)
EPS = 1e-3
"""Of the batch normalisation of the published network."""


class Stem(nn.Conv2d):
    """A convolution that holds its normalisation, as published weights name them (``stem``, ``stem.bn``)."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__(into, out, 3, padding=1)
        self.bn = nn.BatchNorm2d(out, EPS)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(super().forward(x))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is a 1x1 convolution where the block halves the image."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        self.stride = 1 if into == out else 2
        self.conv1 = nn.Conv2d(into, out, 3, self.stride, same(3, self.stride))
        self.bn1 = nn.BatchNorm2d(out, EPS)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(out, EPS)
        self.shortcut = nn.Conv2d(into, out, 1, 2) if self.stride == 2 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(halve(x) if self.stride == 2 else x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class ResNet8(nn.Module):
    """A stem, three blocks of 16, 32 and 64 channels, pooling, a classifier; images are raw, 0 to 255."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.stem = Stem(3, WIDTHS[0])
        self.block1 = ResidualBlock(WIDTHS[0], WIDTHS[0])
        self.block2 = ResidualBlock(WIDTHS[0], WIDTHS[1])
        self.block3 = ResidualBlock(WIDTHS[1], WIDTHS[2])
        self.linear = nn.Linear(WIDTHS[2], classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block3(self.block2(self.block1(F.relu(self.stem(x)))))
        return self.linear(x.mean((2, 3)))


def resnet8(classes: int = 10, shares: Sequence[float] = (0.25, 0.5, 0.75), round_to: int = 4) -> SuperNet:
    """The super-network of :class:`ResNet8`: inner and outer width of each block, and whether the first block runs.

    Args:
        classes: number of classes.
        shares: options of each width, as shares of the whole.
        round_to: widths are multiples of this.
    """
    check_positive(classes=classes, round_to=round_to)
    net = ResNet8(classes)
    makers = {
        1: ["stem", "block1.conv2"],
        2: ["block2.conv2", "block2.shortcut"],
        3: ["block3.conv2", "block3.shortcut"],
    }
    norms = {1: ["stem.bn", "block1.bn2"], 2: ["block2.bn2"], 3: ["block3.bn2"]}
    reads = {
        1: ["block1.conv1", "block2.conv1", "block2.shortcut"],
        2: ["block3.conv1", "block3.shortcut"],
        3: ["linear"],
    }
    axes: list[Axis] = [Depth("block1.depth", ("block1",), (0, 1))]
    for b, width in enumerate(WIDTHS, start=1):
        options, path = fractions(width, shares, round_to), f"block{b}"
        axes.append(Width.tie(net, f"{path}.width", options, out_of=makers[b], through=norms[b], into=reads[b]))
        axes.append(
            Width.tie(
                net,
                f"{path}.inner",
                options,
                out_of=[f"{path}.conv1"],
                through=[f"{path}.bn1"],
                into=[f"{path}.conv2"],
            )
        )
    return SuperNet(net, axes, torch.zeros(1, 3, 32, 32))
