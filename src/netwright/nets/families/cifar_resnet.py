"""The residual networks for CIFAR of He et al. 2016, section 4.2, with parameter-free shortcuts (option A)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...core.errors import NetError
from ..axes import Axis, Depth, Width, fractions
from ..supernet import SuperNet
from ..units import check_positive

STAGES = (16, 32, 64)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut that takes every other pixel and pads channels with zeros."""

    def __init__(self, into: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(into, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.stride, self.pad = stride, (out - into) // 2

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.stride > 1:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.pad, self.pad))
        return F.relu(x + y)


class CifarResNet(nn.Module):
    """Three stages of ``blocks`` blocks with 16, 32 and 64 channels; tensor names are those of published weights.

    Args:
        blocks: the blocks of each stage; the network has 6 * blocks + 2 layers.
        classes: number of classes.
    """

    def __init__(self, blocks: int, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, STAGES[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(STAGES[0])
        self.layer1 = self._stage(STAGES[0], STAGES[0], blocks)
        self.layer2 = self._stage(STAGES[0], STAGES[1], blocks)
        self.layer3 = self._stage(STAGES[1], STAGES[2], blocks)
        self.linear = nn.Linear(STAGES[2], classes)

    @staticmethod
    def _stage(into: int, out: int, blocks: int) -> nn.Sequential:
        first = BasicBlock(into, out, 1 if into == out else 2)
        return nn.Sequential(first, *(BasicBlock(out, out, 1) for _ in range(blocks - 1)))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


def cifar_resnet(layers: int = 20, classes: int = 10, round_to: int = 4) -> SuperNet:
    """The super-network of :class:`CifarResNet`: per-stage depth and per-block inner width.

    The channels between blocks are left whole: padded shortcuts tie those of all stages to one another.

    Args:
        layers: 20, 32, 44, 56, 110, ...: 6 n + 2.
        classes: number of classes.
        round_to: inner widths are multiples of this.
    """
    check_positive(layers=layers, classes=classes, round_to=round_to)
    if layers < 8 or (layers - 2) % 6:
        raise NetError(f"a CIFAR ResNet has 6 n + 2 layers (20, 32, 44, 56, ...), not {layers}")
    blocks = (layers - 2) // 6
    net = CifarResNet(blocks, classes)
    axes: list[Axis] = []
    for s, width in enumerate(STAGES, start=1):
        paths = tuple(f"layer{s}.{b}" for b in range(blocks))
        axes.append(Depth(f"layer{s}.depth", paths, tuple(range(1, blocks + 1))))
        for path in paths:
            options = fractions(width, (0.25, 0.5, 0.75), round_to)
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
