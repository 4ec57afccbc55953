"""Wide residual networks for CIFAR (Zagoruyko and Komodakis 2016, arXiv 1605.07146): one multiplier of all widths."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...core.errors import NetError
from ..axes import Axis, Depth, TiedAxes, Width
from ..supernet import SuperNet
from ..units import check_positive

STAGES = (16, 32, 64)


class PreActivationBlock(nn.Module):
    """Normalise, ReLU, 3x3, twice (``B(3, 3)`` of the paper), beside a shortcut: 1x1 where the channels change."""

    def __init__(self, into: int, out: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(into)
        self.conv1 = nn.Conv2d(into, out, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.shortcut = None if into == out else nn.Conv2d(into, out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(x))
        short = x if self.shortcut is None else self.shortcut(y)
        return short + self.conv2(self.dropout(F.relu(self.bn2(self.conv1(y)))))


class WideResNet(nn.Module):
    """A stem of 16 channels and three stages of 16, 32 and 64 times ``widen`` channels.

    Args:
        layers: 6 n + 4; each stage has n blocks.
        widen: multiplies the channels of all stages.
        classes: number of classes.
        dropout: between the convolutions of each block.
    """

    def __init__(self, layers: int = 28, widen: int = 10, classes: int = 10, dropout: float = 0.0) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, STAGES[0], 3, 1, 1, bias=False)
        self.stages = nn.ModuleList()
        into = STAGES[0]
        for s, width in enumerate(STAGES):
            blocks = []
            for b in range((layers - 4) // 6):
                blocks.append(PreActivationBlock(into, width * widen, 2 if s and not b else 1, dropout))
                into = width * widen
            self.stages.append(nn.Sequential(*blocks))
        self.norm = nn.BatchNorm2d(into)
        self.classifier = nn.Linear(into, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return self.classifier(F.relu(self.norm(x)).mean((2, 3)))


def wide_resnet(
    layers: int = 28, widen: Sequence[int] = (2, 4, 6, 8, 10), classes: int = 10, dropout: float = 0.0
) -> SuperNet:
    """The super-network of :class:`WideResNet`: ``widen``, one multiplier of all widths, and the depth of each stage.

    A choice of ``widen`` with the whole depths is the network of the paper of that width, WRN-``layers``-``widen``.

    Args:
        layers: 16, 22, 28, 40, ...: 6 n + 4.
        widen: options of the multiplier, 2 or more: with 1 the paper's first stage has no 1x1 shortcut, and is
            another network.
        classes: number of classes.
        dropout: between the convolutions of each block.
    """
    check_positive(layers=layers, classes=classes)
    if layers < 10 or (layers - 4) % 6:
        raise NetError(f"a wide ResNet has 6 n + 4 layers (16, 22, 28, 40, ...), not {layers}")
    multipliers = tuple(sorted(set(widen)))
    if not multipliers or any(isinstance(k, bool) or not isinstance(k, int) or k < 2 for k in multipliers):
        raise NetError(f"widen takes whole numbers of 2 or more, not {list(widen)}")
    if not 0 <= dropout < 1:
        raise NetError(f"dropout is a share from 0 to below 1, not {dropout!r}")
    net = WideResNet(layers, multipliers[-1], classes, dropout)
    widths = [axis for s in range(len(STAGES)) for axis in _widths(net, s, multipliers)]
    axes: list[Axis] = [TiedAxes("widen", multipliers, tuple((width, width.options) for width in widths))]
    for s, stage in enumerate(net.stages):
        paths = tuple(f"stages.{s}.{b}" for b in range(len(stage)))  # type: ignore[arg-type]
        if len(paths) > 1:
            axes.append(Depth(f"stage{s}.depth", paths, tuple(range(1, len(paths) + 1))))
    return SuperNet(net, axes, torch.zeros(1, 3, 32, 32))


def _widths(net: WideResNet, s: int, multipliers: Sequence[int]) -> list[Width]:
    """The width between the blocks of a stage, and those inside of them."""
    blocks = [f"stages.{s}.{b}" for b in range(len(net.stages[s]))]  # type: ignore[arg-type]
    options = [STAGES[s] * k for k in multipliers]
    after = f"stages.{s + 1}.0"
    reads, norm = ([f"{after}.conv1", f"{after}.shortcut"], f"{after}.bn1") if s < 2 else (["classifier"], "norm")
    between = Width.tie(
        net,
        f"stage{s}",
        options,
        out_of=[f"{blocks[0]}.shortcut", *(f"{b}.conv2" for b in blocks)],
        through=[*(f"{b}.bn1" for b in blocks[1:]), norm],
        into=[*(f"{b}.conv1" for b in blocks[1:]), *reads],
    )
    inside = [
        Width.tie(net, b, options, out_of=[f"{b}.conv1"], through=[f"{b}.bn2"], into=[f"{b}.conv2"]) for b in blocks
    ]
    return [between, *inside]
