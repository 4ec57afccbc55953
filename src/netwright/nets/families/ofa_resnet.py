"""The ResNet50 super-network of once-for-all (Cai et al. 2020), with the stem and shortcuts of ResNet-D."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from torch import Tensor, nn

from ..axes import Axis, Depth, RelativeWidth, Width
from ..supernet import SuperNet
from ..units import check_positive
from .ofa_mobilenet import Layers, Residual, conv_norm, divisible, supernet

WIDTHS = (0.65, 0.8, 1.0)
EXPANDS = (0.2, 0.25, 0.35)
EXTRA = (0, 1, 2)
"""Blocks of a stage beyond the fewest."""

STEM = 64
STAGES = ((256, 2), (512, 2), (1024, 4), (2048, 2))
"""Channels at width 1 and fewest blocks of each stage."""


class Bottleneck(nn.Module):
    """Three convolutions beside a shortcut, which averages before it projects (He et al. 2019, section 4.2)."""

    def __init__(self, into: int, inner: int, out: int, stride: int, project: bool) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(conv_norm(into, inner, act=nn.ReLU))
        self.conv2 = nn.Sequential(conv_norm(inner, inner, 3, stride, nn.ReLU))
        self.conv3 = nn.Sequential(conv_norm(inner, out))
        shortcut: Layers = OrderedDict()
        if stride > 1:
            shortcut["pool"] = nn.AvgPool2d(stride, stride, ceil_mode=True)
        if project:
            shortcut |= conv_norm(into, out)
        self.downsample = nn.Sequential(shortcut)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.conv3(self.conv2(self.conv1(x))) + self.downsample(x))


def ofa_resnet50(resolutions: Iterable[int] = (224,), classes: int = 1000) -> SuperNet:
    """Once-for-all's ResNet50: depth and width of the stem and of each stage, inner width of each block.

    ``stem.depth`` is whether its middle layer runs. Widths are numbers of channels; published as factors 0.65, 0.8
    and 1, the first two of which leave the same 24 channels within the stem: one option here. ``expand`` is a block's
    inner width as a share of its stage's.

    Args:
        resolutions, classes: see :func:`netwright.nets.families.ofa_mobilenet.ofa_mobilenet_v3`.
    """
    check_positive(classes=classes)
    into = STEM
    layers: Layers = OrderedDict(stem=_stem())
    for s, (out, blocks) in enumerate(STAGES, start=1):
        stage: Layers = OrderedDict()
        for b in range(blocks + EXTRA[-1]):
            stride = 2 if s > 1 and b == 0 else 1
            stage[f"block{b}"] = Bottleneck(into, inner(EXPANDS[-1], out), out, stride, project=b == 0)
            into = out
        layers[f"stage{s}"] = nn.Sequential(stage)
    layers |= OrderedDict(pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), classifier=nn.Linear(into, classes))
    return supernet(layers, _axes, resolutions)


def _stem() -> nn.Sequential:
    half = divisible(STEM // 2)
    return nn.Sequential(
        OrderedDict(
            first=nn.Sequential(conv_norm(3, half, 3, 2, nn.ReLU)),
            middle=Residual(conv_norm(half, half, 3, 1, nn.ReLU)),
            last=nn.Sequential(conv_norm(half, STEM, 3, 1, nn.ReLU)),
            pool=nn.MaxPool2d(3, 2, 1),
        )
    )


def inner(expand: float, width: float) -> int:
    """Channels within a block that gives ``width`` of them."""
    return divisible(round(width * expand))


def widths(whole: int) -> list[int]:
    """Options of a width."""
    return [divisible(whole * width) for width in WIDTHS]


def stem_widths() -> list[int]:
    """Options of the width within the stem, one for each of :data:`WIDTHS`."""
    return [divisible(width // 2) for width in widths(STEM)]


def _axes(net: nn.Module) -> list[Axis]:
    axes: list[Axis] = [
        Depth("stem.depth", ("stem.middle",), (0, 1)),
        Width.tie(
            net,
            "stem.inner",
            stem_widths(),
            out_of=["stem.first.conv", "stem.middle.conv"],
            through=["stem.first.norm", "stem.middle.norm"],
            into=["stem.middle.conv", "stem.last.conv"],
        ),
    ]
    firsts = [f"stage{s}.block0" for s in range(1, 5)]
    reads = [[f"{first}.{layer}.conv" for layer in ("conv1", "downsample")] for first in firsts] + [["classifier"]]
    axes.append(
        Width.tie(net, "stem.width", widths(STEM), out_of=["stem.last.conv"], through=["stem.last.norm"], into=reads[0])
    )
    for s, (out, fewest) in enumerate(STAGES, start=1):
        blocks = tuple(f"stage{s}.block{b}" for b in range(fewest + EXTRA[-1]))
        axes.append(Depth(f"stage{s}.depth", blocks, tuple(fewest + extra for extra in EXTRA)))
        makes = [f"{blocks[0]}.downsample", *(f"{block}.conv3" for block in blocks)]
        width = Width.tie(
            net,
            f"stage{s}.width",
            widths(out),
            out_of=[f"{layer}.conv" for layer in makes],
            through=[f"{layer}.norm" for layer in makes],
            into=[*(f"{block}.conv1.conv" for block in blocks[1:]), *reads[s]],
        )
        axes.append(width)
        for block in blocks:
            group = Width.tie(
                net,
                f"{block}.expand",
                [inner(EXPANDS[-1], out)],
                out_of=[f"{block}.conv1.conv", f"{block}.conv2.conv"],
                through=[f"{block}.conv1.norm", f"{block}.conv2.norm"],
                into=[f"{block}.conv2.conv", f"{block}.conv3.conv"],
            )
            axes.append(RelativeWidth.tabulate(f"{block}.expand", EXPANDS, width, group, inner))
    return axes
