"""SimpleNet: thirteen convolutions without shortcuts (Hasanpour et al. 2016, arXiv 1608.06037)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...core.errors import NetError
from ..axes import Axis, fractions
from ..supernet import SuperNet
from ..units import check_positive
from .parts import tie

WIDTHS = (64, 128, 128, 128, 128, 128, 256, 256, 256, 512, 2048, 256, 256)
"""The channels of the network with 5.48 million parameters."""
POINTWISE = (10, 11)
"""Layers whose window is 1; those of the others are 3."""
POOLED = (3, 6, 8, 11)
"""Layers after which the image is halved."""


class SimpleNet(nn.Module):
    """Convolutions with normalisation and ReLU, max-pooled four times, the largest of each channel, a classifier.

    Args:
        widths: the channels of the thirteen layers.
        classes: number of classes.
    """

    def __init__(self, widths: Sequence[int] = WIDTHS, classes: int = 10) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        into = 3
        for i, out in enumerate(widths):
            window = 1 if i in POINTWISE else 3
            parts: OrderedDict[str, nn.Module] = OrderedDict(
                conv=nn.Conv2d(into, out, window, padding=window // 2), bn=nn.BatchNorm2d(out), act=nn.ReLU()
            )
            if i in POOLED:
                parts["pool"] = nn.MaxPool2d(2)
            layers.append(nn.Sequential(parts))
            into = out
        self.layers = nn.Sequential(*layers)
        self.classifier = nn.Linear(into, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.layers(x).amax((2, 3)))


def simplenet(
    classes: int = 10,
    image: int = 32,
    widths: Sequence[int] = WIDTHS,
    *,
    shares: Sequence[float] = (0.25, 0.5, 0.75),
    round_to: int = 8,
) -> SuperNet:
    """The super-network of :class:`SimpleNet`: the width of each layer.

    Args:
        classes: number of classes.
        image: side of the images, at least 16.
        widths: the channels of the thirteen layers. Those of the network with 310,000 parameters are
            ``(64, 32, 32, 32, 32, 32, 64, 64, 64, 128, 256, 64, 64)``.
        shares: options of each width, as shares of the whole.
        round_to: widths are multiples of this.
    """
    check_positive(classes=classes, image=image, round_to=round_to)
    if image < 16:
        raise NetError(f"image is at least 16, since SimpleNet halves it four times, not {image}")
    if len(widths) != len(WIDTHS):
        raise NetError(f"widths has an entry for each of the {len(WIDTHS)} layers, not {len(widths)}")
    check_positive(**{f"widths[{i}]": width for i, width in enumerate(widths)})
    net = SimpleNet(widths, classes)
    paths = [f"layers.{i}" for i in range(len(widths))]
    axes: list[Axis] = [
        tie(net, f"layer{i}.width", fractions(width, shares, round_to), out_of=[path], into=[after])
        for i, (width, path, after) in enumerate(zip(widths, paths, [*paths[1:], "classifier"], strict=True))
    ]
    return SuperNet(net, axes, torch.zeros(1, 3, image, image))
