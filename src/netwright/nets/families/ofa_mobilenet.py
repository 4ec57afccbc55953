"""The mobile super-networks of once-for-all (Cai et al. 2020): MobileNetV3 and ProxylessNAS."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...core.errors import NetError
from ..axes import Axis, Depth, Kernel, Resize, Resolution, TiedAxes, Width, add_transforms
from ..supernet import SuperNet
from ..units import check_positive

Layers = OrderedDict[str, nn.Module]
"""Modules in the order in which they run, by name."""


@dataclass(frozen=True)
class Stage:
    """A stage of blocks that give the same number of channels.

    Args:
        width: that number, at width 1.
        stride: the stride of the first block; the others have 1.
        act: the activation.
        squeeze: whether its blocks have a squeeze-and-excite layer.
        depths, expands, kernels: options of its depth, and of each block's hidden channels (as a multiple of what it
            is given) and window.
    """

    width: int
    stride: int
    act: type[nn.Module]
    squeeze: bool = False
    depths: tuple[int, ...] = (2, 3, 4)
    expands: tuple[int, ...] = (3, 4, 6)
    kernels: tuple[int, ...] = (3, 5, 7)


def divisible(channels: float) -> int:
    """The nearest multiple of 8, or the next above where that is less than nine tenths: how MobileNets round."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def conv_norm(
    into: int, out: int, kernel: int = 1, stride: int = 1, act: type[nn.Module] | None = None, groups: int = 1
) -> Layers:
    """A convolution that leaves the image its size (over the stride), its normalisation and its activation."""
    layers: Layers = OrderedDict()
    layers["conv"] = nn.Conv2d(into, out, kernel, stride, kernel // 2, groups=groups, bias=False)
    layers["norm"] = nn.BatchNorm2d(out)
    if act is not None:
        layers["act"] = act()
    return layers


class Residual(nn.Sequential):
    """Layers in a row, whose input is added to what they give."""

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


class Squeeze(nn.Module):
    """Squeeze and excite (Hu et al. 2018): two small layers weigh each channel by the means of all."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, inner, 1)
        self.act = nn.ReLU()
        self.expand = nn.Conv2d(inner, channels, 1)
        self.gate = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        y = x.mean((2, 3), keepdim=True)
        return x * self.gate(self.expand(self.act(self.reduce(y))))


def ofa_mobilenet_v3(width: float = 1.0, resolutions: Iterable[int] = (224,), classes: int = 1000) -> SuperNet:
    """Once-for-all's MobileNetV3: per-stage depth, per-block expansion and window, learned window matrices.

    Weights are published for widths 1.0 and 1.2; :func:`netwright.nets.families.ofa.load_ofa` reads them.

    Args:
        width: factor of all channel counts.
        resolutions: see :func:`supernet`; once-for-all was trained for 128, 132, ... 224.
        classes: number of classes.
    """
    check_positive(width=width, classes=classes)
    relu, swish = nn.ReLU, nn.Hardswish
    stages = (
        Stage(16, 1, relu, depths=(1,), expands=(1,), kernels=(3,)),
        Stage(24, 2, relu),
        Stage(40, 2, relu, squeeze=True),
        Stage(80, 2, swish),
        Stage(112, 1, swish, squeeze=True),
        Stage(160, 2, swish, squeeze=True),
    )
    stem, last, final, mix = (divisible(channels * width) for channels in (16, 160, 960, 1280))
    net: Layers = OrderedDict(
        stem=nn.Sequential(conv_norm(3, stem, 3, 2, swish)),
        **_blocks(stem, stages, width),
        final=nn.Sequential(conv_norm(last, final, act=swish)),
        pool=nn.AdaptiveAvgPool2d(1),
        mix=nn.Sequential(OrderedDict(conv=nn.Conv2d(final, mix, 1, bias=False), act=swish())),
        flatten=nn.Flatten(),
        classifier=nn.Linear(mix, classes),
    )
    return supernet(net, lambda module: _axes(module, stages), resolutions)


def ofa_proxyless(width: float = 1.3, resolutions: Iterable[int] = (224,), classes: int = 1000) -> SuperNet:
    """Once-for-all's ProxylessNAS: the choices of :func:`ofa_mobilenet_v3`, and a sixth stage of one block.

    Args:
        width, resolutions, classes: see there; weights are published for width 1.3.
    """
    check_positive(width=width, classes=classes)
    act = nn.ReLU6
    stages = (
        Stage(16, 1, act, depths=(1,), expands=(1,), kernels=(3,)),
        Stage(24, 2, act),
        Stage(40, 2, act),
        Stage(80, 2, act),
        Stage(96, 1, act),
        Stage(192, 2, act),
        Stage(320, 1, act, depths=(1,)),
    )
    stem, last, mix = (divisible(channels * width) for channels in (32, 320, 1280))
    net: Layers = OrderedDict(
        stem=nn.Sequential(conv_norm(3, stem, 3, 2, act)),
        **_blocks(stem, stages, width),
        mix=nn.Sequential(conv_norm(last, mix, act=act)),
        pool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        classifier=nn.Linear(mix, classes),
    )
    return supernet(net, lambda module: _axes(module, stages), resolutions, eps=1e-3)


def supernet(
    layers: Layers, axes: Callable[[nn.Module], list[Axis]], resolutions: Iterable[int], eps: float = 1e-5
) -> SuperNet:
    """The super-network of layers that run one after the other.

    Args:
        layers: the layers of the network.
        axes: the axes of the network that they make.
        resolutions: sides of images in pixels. With several of them, the network takes images of the largest size
            and brings them to the chosen one itself.
        eps: the epsilon of the normalisation.
    """
    sizes = sorted(set(resolutions))
    if not sizes or sizes[0] < 1:
        raise NetError(f"resolutions are sides of images in pixels, such as (128, 160, 192, 224), not {sizes}")
    several = len(sizes) > 1
    net = nn.Sequential(OrderedDict(resize=Resize(sizes[-1]), **layers) if several else layers)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eps = eps
    found = [Resolution("resolution", "resize", sizes)] if several else []
    return SuperNet(net, [*found, *axes(net)], torch.zeros(1, 3, sizes[-1], sizes[-1]))


def _blocks(into: int, stages: Sequence[Stage], width: float) -> Layers:
    """The stages, named from ``stage0``, with all their blocks at their largest."""
    made: Layers = OrderedDict()
    for s, stage in enumerate(stages):
        blocks: Layers = OrderedDict()
        out = divisible(stage.width * width)
        for b in range(stage.depths[-1]):
            blocks[f"block{b}"] = _block(into, out, stage, stage.stride if b == 0 else 1)
            into = out
        made[f"stage{s}"] = nn.Sequential(blocks)
    return made


def _block(into: int, out: int, stage: Stage, stride: int) -> nn.Sequential:
    """An inverted residual (Sandler et al. 2018): expand, filter each channel, weigh the channels, project back."""
    expand, kernel = stage.expands[-1], stage.kernels[-1]
    hidden = _hidden(into, expand)
    layers: Layers = OrderedDict()
    if expand > 1:
        layers["expand"] = nn.Sequential(conv_norm(into, hidden, act=stage.act))
    layers["filter"] = nn.Sequential(conv_norm(hidden, hidden, kernel, stride, stage.act, groups=hidden))
    add_transforms(layers["filter"][0], stage.kernels)  # type: ignore[index]
    if stage.squeeze:
        layers["squeeze"] = Squeeze(hidden, _squeezed(hidden))
    layers["project"] = nn.Sequential(conv_norm(hidden, out))
    return Residual(layers) if stride == 1 and into == out else nn.Sequential(layers)


def _hidden(into: int, expand: int) -> int:
    return divisible(round(into * expand))


def _squeezed(hidden: int) -> int:
    return divisible(hidden // 4)


def _axes(net: nn.Module, stages: Sequence[Stage]) -> list[Axis]:
    axes: list[Axis] = []
    for s, stage in enumerate(stages):
        blocks = tuple(f"stage{s}.block{b}" for b in range(stage.depths[-1]))
        if len(stage.depths) > 1:
            axes.append(Depth(f"stage{s}.depth", blocks, stage.depths))
        if len(stage.expands) > 1:
            for block in blocks:
                axes.append(_expand(net, block, stage))
                axes.append(Kernel(f"{block}.kernel", f"{block}.filter.conv", stage.kernels, transformed=True))
    return axes


def _expand(net: nn.Module, block: str, stage: Stage) -> Axis:
    """The hidden channels of a block, and with them those within its squeeze-and-excite layer."""
    into = net.get_submodule(f"{block}.expand.conv").in_channels
    hidden = tuple(_hidden(into, expand) for expand in stage.expands)  # type: ignore[arg-type]
    makes, reads, name = [f"{block}.expand.conv"], [f"{block}.project.conv"], f"{block}.expand"
    passes = [f"{block}.expand.norm", f"{block}.filter.conv", f"{block}.filter.norm"]
    parts: list[tuple[Axis, tuple[int, ...]]] = []
    if stage.squeeze:
        reduce, expand = f"{block}.squeeze.reduce", f"{block}.squeeze.expand"
        inner = tuple(map(_squeezed, hidden))
        parts.append((Width.tie(net, name, inner, out_of=[reduce], into=[expand]), inner))
        makes, reads = [*makes, expand], [*reads, reduce]
    parts.append((Width.tie(net, name, hidden, out_of=makes, through=passes, into=reads), hidden))
    return TiedAxes(name, stage.expands, tuple(parts))
