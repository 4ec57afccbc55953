"""The residual networks for CIFAR of He et al. 2016, section 4.2, with parameter-free shortcuts (option A)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...core.errors import NetError
from ..axes import Axis, ChannelSlice, Depth, TiedAxes, Width, fractions
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
        self.stride, self.pad = stride, (out - into) // 2  # channels of zeros on either side

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


def cifar_resnet(
    layers: int = 20,
    classes: int = 10,
    round_to: int = 4,
    *,
    depths: Sequence[int] = (),
    shares: Sequence[float] = (0.25, 0.5, 0.75),
    between: Sequence[float] = (),
) -> SuperNet:
    """The super-network of :class:`CifarResNet`: per-stage depth, per-block inner width, and widths between blocks.

    Padded shortcuts give the channels of a stage to all later ones. So what can be chosen between blocks is the width
    of the first stage, ``layer1.width``, and how many channels each later one adds to those before it, half of them on
    either side: ``layer2.added`` and ``layer3.added``. All blocks from there on, and the classifier, read them.

    Args:
        layers: 20, 32, 44, 56, 110, ...: 6 n + 2.
        classes: number of classes.
        round_to: widths are multiples of this; channels that are added, of twice as many where it is odd.
        depths: options of each stage's depth; all from 1 on by default.
        shares: options of each inner width, as shares of the whole; none leaves them whole.
        between: the same of the widths between blocks, which a trained network does not easily do without.
    """
    check_positive(layers=layers, classes=classes, round_to=round_to)
    if layers < 8 or (layers - 2) % 6:
        raise NetError(f"a CIFAR ResNet has 6 n + 2 layers (20, 32, 44, 56, ...), not {layers}")
    blocks = (layers - 2) // 6
    net = CifarResNet(blocks, classes)
    axes: list[Axis] = []
    for s, width in enumerate(STAGES, start=1):
        paths = tuple(f"layer{s}.{b}" for b in range(blocks))
        axes.append(Depth(f"layer{s}.depth", paths, tuple(depths) or tuple(range(1, blocks + 1))))
        if shares:
            axes += [_inner(net, path, fractions(width, shares, round_to)) for path in paths]
    if between:
        axes += _between(net, between, round_to)
    return SuperNet(net, axes, torch.zeros(1, 3, 32, 32))


def _inner(net: CifarResNet, path: str, options: Sequence[int]) -> Width:
    """The width between the convolutions of a block."""
    return Width.tie(
        net, f"{path}.inner", options, out_of=[f"{path}.conv1"], through=[f"{path}.bn1"], into=[f"{path}.conv2"]
    )


def _between(net: CifarResNet, shares: Sequence[float], round_to: int) -> Iterator[Axis]:
    """The widths between blocks."""
    slices = tuple(_places(net, 1, 0))
    yield Width("layer1.width", slices, fractions(STAGES[0], shares, round_to, "between"))
    for s, (before, width) in enumerate(pairwise(STAGES), start=2):
        added, path = width - before, f"layer{s}"
        options = fractions(added, shares, round_to if round_to % 2 == 0 else 2 * round_to, "between")
        halves = tuple(n // 2 for n in options)
        front = Width(f"{path}.front", tuple(_places(net, s, 0)), halves, ((f"{path}.0", "pad"),))
        back = Width(f"{path}.back", tuple(_places(net, s, added // 2 + before)), halves)
        yield TiedAxes(f"{path}.added", options, ((front, halves), (back, halves)))


def _places(net: CifarResNet, stage: int, at: int) -> Iterator[ChannelSlice]:
    """Where channels lie that a stage makes from its channel ``at`` on: in all tensors from there to the classifier."""
    for s in range(stage, len(STAGES) + 1):
        at += (STAGES[s - 1] - STAGES[s - 2]) // 2 if s > stage else 0
        blocks = [f"layer{s}.{b}" for b in range(len(net.get_submodule(f"layer{s}")))]  # type: ignore[arg-type]
        makers = [("conv1", "bn1")] if s == 1 else []
        makers += [(f"{block}.conv2", f"{block}.bn2") for block in blocks]
        for convolution, norm in makers:
            yield ChannelSlice(f"{convolution}.weight", 0, at)
            for own in ("weight", "bias", "running_mean", "running_var"):
                yield ChannelSlice(f"{norm}.{own}", 0, at)
        readers = blocks if s == stage == 1 else blocks[1:]
        if s < len(STAGES):
            readers = [*readers, f"layer{s + 1}.0"]
        for block in readers:
            yield ChannelSlice(f"{block}.conv1.weight", 1, at)
    yield ChannelSlice("linear.weight", 1, at)
