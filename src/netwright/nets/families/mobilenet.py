"""MobileNetV1 (Howard et al. 2017) and MobileNetV2 (Sandler et al. 2018), with the padding of their published weights.

Tensor names are those of the published files in plain names (``stem``, ``blocks.N.depthwise``, ...), either with
normalisation (``stem.conv``, ``stem.bn``) or with it folded into the convolutions (``stem`` itself, with a bias).
Images are expected as ``x / 127.5 - 1``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...core.errors import NetError
from ..axes import Axis, Depth, Kernel, fractions
from ..supernet import SuperNet
from ..units import channels_of, check_positive, unit
from .parts import halve, same, tie

V1 = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
"""Width and stride of each block (table 1 of the paper)."""

V2 = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, width, blocks and first stride of each stage (table 2 of the paper)."""

EPS = 1e-3
"""Of the batch normalisation of the published networks."""


class Separable(nn.Module):
    """A convolution of each channel by itself, then one of 1x1 across channels."""

    def __init__(self, into: int, out: int, stride: int, eps: float | None) -> None:
        super().__init__()
        self.stride = stride
        self.depthwise = unit(into, into, 3, stride, same(3, stride), groups=into, eps=eps)
        self.pointwise = unit(into, out, 1, 1, 0, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self.depthwise(halve(x) if self.stride == 2 else x))
        return F.relu6(self.pointwise(x))


class MobileNetV1(nn.Module):
    """A stem convolution of stride 2, thirteen :class:`Separable` blocks, pooling, a classifier.

    Args:
        width: multiplies the channels of every layer (0.25, 0.5, 0.75, 1 are published).
        classes: number of classes.
        norm: whether the convolutions have batch normalisation; else they have biases.
    """

    def __init__(self, width: float = 1.0, classes: int = 1000, norm: bool = True) -> None:
        super().__init__()
        eps = EPS if norm else None
        into = scaled(32, width)
        self.stem = unit(3, into, 3, 2, same(3, 2), eps=eps)
        blocks = []
        for channels, stride in V1:
            out = scaled(channels, width)
            blocks.append(Separable(into, out, stride, eps))
            into = out
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(into, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(F.relu6(self.stem(halve(x))))
        return self.classifier(x.mean((2, 3)))


class Bottleneck(nn.Module):
    """Expand with 1x1 (where ``hidden`` differs), filter each channel, project back; add the input where it fits."""

    def __init__(self, into: int, hidden: int, out: int, kernel: int, stride: int, eps: float | None) -> None:
        super().__init__()
        self.stride, self.residual = stride, stride == 1 and into == out
        self.expand = None if hidden == into else unit(into, hidden, 1, 1, 0, eps=eps)
        self.depthwise = unit(hidden, hidden, kernel, stride, same(kernel, stride), groups=hidden, eps=eps)
        self.project = unit(hidden, out, 1, 1, 0, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else F.relu6(self.expand(x))
        y = F.relu6(self.depthwise(halve(y) if self.stride == 2 else y))
        y = self.project(y)
        return x + y if self.residual else y


class MobileNetV2(nn.Module):
    """A stem convolution of stride 2, seven stages of :class:`Bottleneck` blocks, a 1x1 head, pooling, a classifier.

    Args:
        width: multiplies the channels of every layer; those of the head only where it is above 1.
        classes: number of classes.
        kernel: window of the channel-wise convolutions.
        norm: whether the convolutions have batch normalisation; else they have biases.
    """

    def __init__(self, width: float = 1.0, classes: int = 1000, kernel: int = 3, norm: bool = True) -> None:
        super().__init__()
        eps = EPS if norm else None
        into = scaled(32, width)
        self.stem = unit(3, into, 3, 2, same(3, 2), eps=eps)
        blocks = []
        for expansion, channels, depth, first in V2:
            out = scaled(channels, width)
            for b in range(depth):
                blocks.append(Bottleneck(into, into * expansion, out, kernel, first if b == 0 else 1, eps))
                into = out
        self.blocks = nn.Sequential(*blocks)
        self.head = unit(into, scaled(1280, max(1.0, width)), 1, 1, 0, eps=eps)
        self.classifier = nn.Linear(scaled(1280, max(1.0, width)), classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(F.relu6(self.stem(halve(x))))
        return self.classifier(F.relu6(self.head(x)).mean((2, 3)))


def mobilenet_v1(
    width: float = 1.0,
    image: int = 224,
    classes: int = 1000,
    *,
    norm: bool = True,
    shares: Sequence[float] = (0.25, 0.5, 0.75),
    round_to: int = 8,
) -> SuperNet:
    """The super-network of :class:`MobileNetV1`: the width of the stem and of each block.

    A block's width ties its 1x1 convolution, the channel-wise one after it and the input of the next 1x1.

    Args:
        width, classes, norm: see :class:`MobileNetV1`.
        image: side of the images.
        shares: options of each width, as shares of the whole.
        round_to: widths are multiples of this.
    """
    check_positive(width=width, image=image, classes=classes, round_to=round_to)
    net = MobileNetV1(width, classes, norm)
    makers = ["stem", *(f"blocks.{i}.pointwise" for i in range(len(V1)))]
    axes: list[Axis] = []
    for i, maker in enumerate(makers):
        last = maker == makers[-1]
        axes.append(
            tie(
                net,
                f"{maker.removesuffix('.pointwise')}.width",
                fractions(channels_of(net, maker), shares, round_to),
                out_of=[maker],
                through=[] if last else [f"blocks.{i}.depthwise"],
                into=["classifier" if last else f"blocks.{i}.pointwise"],
            )
        )
    return SuperNet(net, axes, torch.zeros(1, 3, image, image))


def mobilenet_v2(
    width: float = 1.0,
    image: int = 224,
    classes: int = 1000,
    *,
    kernels: Sequence[int] = (3,),
    norm: bool = True,
    depths: Sequence[int] = (),
    shares: Sequence[float] = (0.25, 0.5, 0.75),
    between: Sequence[float] = (0.25, 0.5, 0.75),
    round_to: int = 8,
) -> SuperNet:
    """The super-network of :class:`MobileNetV2`: depth and width of each stage, expansion and window of each block.

    A stage's width ties all blocks that add their input, and the layer after them. The first block of a stage
    always runs. The stem's width is the hidden width of the first block, which does not expand.

    Args:
        width, classes, norm: see :class:`MobileNetV2`.
        image: side of the images.
        kernels: options of each block's window, odd, 3 or more. Published weights have 3.
        depths: options of each stage's depth, of which each stage has those that are below its own; all from 1 on
            by default.
        shares: options of each hidden width and of the head's, as shares of the whole; none leaves them whole.
        between: the same of the widths between blocks: of the stem and of the stages.
        round_to: widths are multiples of this.
    """
    check_positive(width=width, image=image, classes=classes, round_to=round_to)
    if any(depth < 1 for depth in depths):
        raise NetError(f"depths must be at least 1, since the first block of a stage always runs, not {list(depths)}")
    if any(k < 3 for k in kernels):
        raise NetError(f"kernels must be odd and at least 3, not {list(kernels)}")
    net = MobileNetV2(width, classes, max(kernels), norm)
    axes: list[Axis] = []

    def widths(
        chosen: Sequence[float], name: str, out_of: Sequence[str], into: Sequence[str], through: Sequence[str] = ()
    ) -> None:
        if chosen:
            options = fractions(channels_of(net, out_of[0]), chosen, round_to)
            axes.append(tie(net, name, options, out_of=out_of, through=through, into=into))

    tied = "stem.width", ["stem"], ["blocks.0.project"], ["blocks.0.depthwise"]
    begin = 0
    for s, (_, _, depth, _) in enumerate(V2):
        blocks = [f"blocks.{i}" for i in range(begin, begin + depth)]
        begin += depth
        if not net.get_submodule(blocks[0]).residual:
            # The first block of a narrow network may add its input: then both stages have one width.
            widths(between, *tied)
            tied = f"stage{s}.width", [], [], []
        if depth > 1:
            fewer = depths or range(1, depth)
            axes.append(Depth(f"stage{s}.depth", tuple(blocks), (*(d for d in fewer if d < depth), depth)))
        after = f"blocks.{begin}.expand" if begin < len(net.blocks) else "head"
        tied[1].extend(f"{b}.project" for b in blocks)
        tied[2].extend([*(f"{b}.expand" for b in blocks[1:]), after])
        for block in blocks:
            if s > 0:
                widths(shares, f"{block}.expand", [f"{block}.expand"], [f"{block}.project"], [f"{block}.depthwise"])
            if len(set(kernels)) > 1:
                layer = f"{block}.depthwise.conv" if norm else f"{block}.depthwise"
                axes.append(Kernel(f"{block}.kernel", layer, tuple(kernels)))
    widths(between, *tied)
    widths(shares, "head.width", ["head"], ["classifier"])
    return SuperNet(net, axes, torch.zeros(1, 3, image, image))


def scaled(channels: int, width: float) -> int:
    """Channels times a multiplier, to the nearest multiple of 8 that is not more than a tenth below."""
    exact = channels * width
    near = max(8, int(exact + 4) // 8 * 8)
    return near + 8 if near < 0.9 * exact else near
