"""The cells of NAS-Bench-201 (Dong and Yang 2020, arXiv 2001.00326): five operations on six edges, alike everywhere."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...core.errors import NetError
from ..axes import Axis, OneOf, TiedAxes
from ..menu import Menu, oneof
from ..stand_ins import Zeros
from ..supernet import SuperNet
from ..units import check_positive

OPERATIONS = ("none", "skip_connect", "avg_pool_3x3", "nor_conv_1x1", "nor_conv_3x3")
"""As the benchmark names them, from the cheapest to the dearest."""
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""From which node to which, in the benchmark's order."""


def convolution(into: int, out: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """ReLU, convolution, normalisation."""
    conv = nn.Conv2d(into, out, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(nn.ReLU(), conv, nn.BatchNorm2d(out))


def operations(channels: int) -> Menu:
    """What may run on an edge; see :data:`OPERATIONS`."""
    return oneof(
        none=Zeros(),
        skip_connect=nn.Identity(),
        avg_pool_3x3=nn.AvgPool2d(3, 1, 1, count_include_pad=False),
        nor_conv_1x1=convolution(channels, channels, 1),
        nor_conv_3x3=convolution(channels, channels, 3),
    )


class Cell(nn.Module):
    """Four nodes, each the sum of what the edges from all earlier ones give."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.edges = nn.ModuleDict({f"{a}_{b}": operations(channels) for a, b in EDGES})

    def forward(self, x: Tensor) -> Tensor:
        nodes = [x]
        for b in (1, 2, 3):
            nodes.append(torch.stack([self.edges[f"{a}_{b}"](nodes[a]) for a in range(b)]).sum(0))
        return nodes[-1]


class Reduction(nn.Module):
    """A residual block that halves the image, between stages; its shortcut pools and has a 1x1 convolution."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = convolution(into, out, 3, 2), convolution(out, out, 3)
        self.shortcut = nn.Sequential(nn.AvgPool2d(2, 2), nn.Conv2d(into, out, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.conv2(self.conv1(x))


class CellNet(nn.Module):
    """A stem, stages of cells with a :class:`Reduction` between them, pooling, a classifier.

    Args:
        classes: number of classes.
        channels: of each stage.
        cells: number of cells of each stage.
    """

    def __init__(self, classes: int = 10, channels: Sequence[int] = (16, 32, 64), cells: int = 5) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, channels[0], 3, padding=1, bias=False), nn.BatchNorm2d(channels[0]))
        layers: list[nn.Module] = []
        for s, width in enumerate(channels):
            if s:
                layers.append(Reduction(channels[s - 1], width))
            layers += [Cell(width) for _ in range(cells)]
        self.layers = nn.Sequential(*layers)
        self.norm = nn.BatchNorm2d(channels[-1])
        self.classifier = nn.Linear(channels[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(F.relu(self.norm(self.layers(self.stem(x)))).mean((2, 3)))


def nas_bench_201(
    classes: int = 10, image: int = 32, channels: Sequence[int] = (16, 32, 64), cells: int = 5
) -> SuperNet:
    """The super-network of :class:`CellNet`: 15,625 networks, a choice for each edge, the same in all cells.

    The choice of the edge from node 0 to node 3 is called ``edge0_3``; options are :data:`OPERATIONS`.

    Args:
        classes, channels, cells: see :class:`CellNet`.
        image: side of the images.
    """
    check_positive(classes=classes, image=image, cells=cells)
    if not channels or any(not isinstance(width, int) or width < 1 for width in channels):
        raise NetError(f"channels has a number for each stage, not {list(channels)}")
    net = CellNet(classes, channels, cells)
    axes: list[Axis] = []
    for a, b in EDGES:
        menus = [f"layers.{i}.edges.{a}_{b}" for i, layer in enumerate(net.layers) if isinstance(layer, Cell)]
        axes.append(TiedAxes(f"edge{a}_{b}", OPERATIONS, tuple((OneOf.of(net, menu), OPERATIONS) for menu in menus)))
    return SuperNet(net, axes, torch.zeros(1, 3, image, image))
