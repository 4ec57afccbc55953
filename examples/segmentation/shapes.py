"""Segmentation: which pixels belong to a disc, a square or a cross, under noise.

netwright fit examples/segmentation/recipe.yaml
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import netwright as nw

SIZE = 24
KINDS = ("nothing", "disc", "square", "cross")


def part(count: int, seed: int) -> nw.Split:
    """Grey images (n, 1, 24, 24) of two shapes each, and the kind of each pixel (n, 24, 24)."""
    draw = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    kinds = torch.zeros(count, SIZE, SIZE, dtype=torch.int64)
    images = 0.6 * torch.randn(count, 1, SIZE, SIZE, generator=draw)
    for picture, image in zip(kinds, images[:, 0], strict=True):
        for _ in range(2):
            kind, top, left = (int(torch.randint(a, b, (1,), generator=draw)) for a, b in ((1, 4), (5, 19), (5, 19)))
            down, across = (rows - top).abs(), (columns - left).abs()
            inside = {
                "disc": down**2 + across**2 <= 16,
                "square": torch.maximum(down, across) <= 3,
                "cross": (torch.minimum(down, across) <= 1) & (torch.maximum(down, across) <= 4),
            }[KINDS[kind]]
            picture[inside] = kind
            image[inside] += 1
    return nw.Split(images, kinds)


class Net(nn.Module):
    """Down, across and up again, with what was seen at full size added at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.coarse = nn.Sequential(
            nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        )  # fmt: skip
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.head = nn.Conv2d(48, len(KINDS), 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.fine(x)
        return self.head(torch.cat([fine, self.up(self.coarse(fine))], 1))


def supernet() -> nw.SuperNet:
    """What can be cut is found by netwright."""
    return nw.wrap(Net(), torch.zeros(1, 1, SIZE, SIZE))


def data() -> nw.Data:
    """Pictures drawn with seeds of their own."""
    return nw.Data(part(256, 1), part(96, 2), part(96, 3))
