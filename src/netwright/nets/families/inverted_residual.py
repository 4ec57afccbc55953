"""Inverted-residual networks for small images, after MobileNetV2 (Sandler et al. 2018)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..axes import Axis, Depth, Kernel, Width
from ..supernet import SuperNet


class InvertedResidual(nn.Module):
    """Expand with a 1x1 convolution, filter each channel, project back; add the input where the shapes allow."""

    def __init__(self, into: int, out: int, hidden: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(into, hidden, 1, bias=False)
        self.expand_norm = nn.BatchNorm2d(hidden)
        self.filter = nn.Conv2d(hidden, hidden, kernel, stride, kernel // 2, groups=hidden, bias=False)
        self.filter_norm = nn.BatchNorm2d(hidden)
        self.project = nn.Conv2d(hidden, out, 1, bias=False)
        self.project_norm = nn.BatchNorm2d(out)
        self.act = nn.ReLU()
        self.residual = stride == 1 and into == out

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.expand_norm(self.expand(x)))
        y = self.act(self.filter_norm(self.filter(y)))
        y = self.project_norm(self.project(y))
        return x + y if self.residual else y


class InvertedResidualNet(nn.Module):
    """A stem convolution, stages of inverted residuals (each but the first halves the image), pooling, a classifier.

    Args:
        in_channels: the channels of the images.
        classes: number of classes.
        widths: channels of each stage; the stem has the first.
        depths: blocks of each stage.
        expand: hidden channels of a block, as a multiple of its stage's width.
        kernel: window of the channel-wise convolutions.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        widths: Sequence[int],
        depths: Sequence[int],
        expand: int,
        kernel: int,
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_channels, widths[0], 3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(widths[0])
        self.act = nn.ReLU()
        self.stages = nn.ModuleList()
        into = widths[0]
        for s, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            blocks = []
            for b in range(depth):
                stride = 2 if s > 0 and b == 0 else 1
                blocks.append(InvertedResidual(into, width, width * expand, kernel, stride))
                into = width
            self.stages.append(nn.Sequential(*blocks))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(into, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.stem_norm(self.stem(x)))
        for stage in self.stages:
            x = stage(x)
        return self.classifier(self.pool(x).flatten(1))


def inverted_residual(
    in_channels: int = 1,
    classes: int = 10,
    image: int = 8,
    widths: Sequence[Sequence[int]] = ((8, 12, 16), (12, 16, 24), (16, 24, 32)),
    depths: Sequence[Sequence[int]] = ((1, 2, 3), (1, 2, 3), (1, 2, 3)),
    expands: Sequence[int] = (1, 2, 4),
    kernels: Sequence[int] = (3, 5),
) -> SuperNet:
    """The super-network of :class:`InvertedResidualNet`.

    Args:
        in_channels, classes, image: the channels, the classes and the image size of the data; images are square.
        widths: per stage, the options of its width (a tied group: every block of the stage, and what reads it).
        depths: per stage, the options of its depth. Only the first stage, whose blocks all add their input, may
            have 0.
        expands: options of each block's hidden width, as multiples of the stage's whole width.
        kernels: options of each block's window.

    Returns:
        A super-network with per-stage ``depth`` and ``width`` and per-block ``expand`` and ``kernel`` axes.
    """
    whole = [max(w) for w in widths]
    net = InvertedResidualNet(in_channels, classes, whole, [max(d) for d in depths], max(expands), max(kernels))
    axes: list[Axis] = []
    for s, stage in enumerate(net.stages):
        blocks = [f"stages.{s}.{b}" for b in range(len(stage))]  # type: ignore[arg-type]
        axes.append(Depth(f"stage{s}.depth", tuple(blocks), tuple(depths[s])))
        reads = [f"{b}.expand" for b in blocks[1:]]
        reads.append(f"stages.{s + 1}.0.expand" if s + 1 < len(whole) else "classifier")
        makes = [f"{b}.project" for b in blocks]
        norms = [f"{b}.project_norm" for b in blocks]
        if s == 0:  # the first stage's first block adds its input, which ties the stem to the stage
            makes, norms, reads = ["stem", *makes], ["stem_norm", *norms], [f"{blocks[0]}.expand", *reads]
        axes.append(Width.tie(net, f"stage{s}.width", widths[s], out_of=makes, through=norms, into=reads))
        for b, block in enumerate(blocks):
            hidden = [e * whole[s] for e in expands]
            axes.append(
                Width.tie(
                    net,
                    f"stage{s}.block{b}.expand",
                    hidden,
                    out_of=[f"{block}.expand"],
                    through=[f"{block}.expand_norm", f"{block}.filter", f"{block}.filter_norm"],
                    into=[f"{block}.project"],
                )
            )
            axes.append(Kernel(f"stage{s}.block{b}.kernel", f"{block}.filter", tuple(kernels)))
    return SuperNet(net, axes, torch.zeros(1, in_channels, image, image))
