"""A small detector: split blocks, a path down and up again between three scales, and boxes without anchors.

Written from what papers say of such networks: blocks that split, filter one part and concatenate all of its stages
(CSPNet, Wang et al. 2020; the C3k2 blocks of YOLO11 as Khanam and Hussain 2024, arXiv 2410.17725, describe them),
pooled pyramids (He et al. 2015), features that go from coarse to fine and back (PANet, Liu et al. 2018), and at each
position a score for each class and the distances to the four sides of a box (FCOS, Tian et al. 2019).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...core.errors import NetError
from ..axes import Axis, ChannelSlice, Depth, Width, fractions
from ..supernet import SuperNet
from ..units import channels_of, check_positive, unit

STRIDES = (8, 16, 32)
"""Pixels between positions of each scale."""
PRIOR = 0.01
"""What each score is before training (Lin et al. 2017, section 3.3)."""


class Bottleneck(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = unit(channels, channels, 3, 1, 1)
        self.conv2 = unit(channels, channels, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + F.silu(self.conv2(F.silu(self.conv1(x))))


class SplitBlock(nn.Module):
    """Enter with 1x1, split in halves, filter the second again and again, concatenate all stages, leave with 1x1.

    Args:
        into, out: channels before and after.
        inner: channels of each half.
        depth: number of bottlenecks.
    """

    def __init__(self, into: int, out: int, inner: int, depth: int) -> None:
        super().__init__()
        self.enter = unit(into, 2 * inner, 1, 1, 0)
        self.bottlenecks = nn.ModuleList(Bottleneck(inner) for _ in range(depth))
        self.leave = unit((2 + depth) * inner, out, 1, 1, 0)

    def forward(self, x: Tensor) -> Tensor:
        parts = list(F.silu(self.enter(x)).chunk(2, 1))
        for bottleneck in self.bottlenecks:
            parts.append(bottleneck(parts[-1]))
        return F.silu(self.leave(torch.cat(parts, 1)))


class PooledPyramid(nn.Module):
    """Halve the channels, max-pool three times without making the image smaller, concatenate, leave with 1x1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter = unit(channels, channels // 2, 1, 1, 0)
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.leave = unit(4 * (channels // 2), channels, 1, 1, 0)

    def forward(self, x: Tensor) -> Tensor:
        parts = [F.silu(self.enter(x))]
        for _ in range(3):
            parts.append(self.pool(parts[-1]))
        return F.silu(self.leave(torch.cat(parts, 1)))


class Head(nn.Module):
    """Boxes and scores of one scale: a branch of 3x3 for sides, a depthwise and a pointwise one for classes."""

    def __init__(self, into: int, hidden: int, classes: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.side = unit(into, hidden, 3, 1, 1)
        self.sides = nn.Conv2d(hidden, 4, 1)
        self.each = unit(into, into, 3, 1, 1, groups=into)
        self.kind = unit(into, hidden, 1, 1, 0)
        self.kinds = nn.Conv2d(hidden, classes, 1)
        nn.init.constant_(self.kinds.bias, -math.log(1 / PRIOR - 1))  # type: ignore[arg-type]
        nn.init.ones_(self.sides.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        left, top, right, bottom = F.softplus(self.sides(F.silu(self.side(x)))).unbind(1)
        sizes = int(x.shape[3]), int(x.shape[2])  # numbers: else the older exporter writes a graph that counts
        across, down = (torch.arange(size, device=x.device, dtype=x.dtype) + 0.5 for size in sizes)
        corners = (across - left, down[:, None] - top, across + right, down[:, None] + bottom)
        scores = self.kinds(F.silu(self.kind(F.silu(self.each(x)))))
        return torch.stack(corners, 1) * self.stride, scores


class Detector(nn.Module):
    """Images (n, 3, h, w) to boxes and scores at three scales; h and w are multiples of 32.

    Outputs are ``boxes``, for each scale (n, 4, h / stride, w / stride): x1, y1, x2, y2 in pixels; and ``scores``, for
    each scale (n, classes, h / stride, w / stride): logits, of which each class has its own. Strides are 8, 16, 32.
    :mod:`netwright.tasks.dense_boxes` has the loss and makes lists of boxes of them.

    Args:
        classes: number of classes.
        channels: of the stem, and at strides 4, 8, 16 and 32.
        depth: bottlenecks of each block.
    """

    def __init__(self, classes: int, channels: Sequence[int] = (16, 32, 64, 128, 256), depth: int = 2) -> None:
        super().__init__()
        stem, *rest = channels
        c3, c4, c5 = rest[1:]
        self.stem = unit(3, stem, 3, 2, 1)
        into, self.downs, self.blocks = stem, nn.ModuleList(), nn.ModuleList()
        for width in rest:
            self.downs.append(unit(into, width, 3, 2, 1))
            self.blocks.append(SplitBlock(width, width, width // 2, depth))
            into = width
        self.pyramid = PooledPyramid(c5)
        self.finer = nn.ModuleList([SplitBlock(c5 + c4, c4, c4 // 2, 1), SplitBlock(c4 + c3, c3, c3 // 2, 1)])
        self.back = nn.ModuleList([unit(c3, c3, 3, 2, 1), unit(c4, c4, 3, 2, 1)])
        self.coarser = nn.ModuleList([SplitBlock(c3 + c4, c4, c4 // 2, 1), SplitBlock(c4 + c5, c5, c5 // 2, 1)])
        self.heads = nn.ModuleList(
            Head(c, c3, classes, stride) for c, stride in zip((c3, c4, c5), STRIDES, strict=True)
        )

    def forward(self, x: Tensor) -> dict[str, list[Tensor]]:
        x, seen = F.silu(self.stem(x)), []
        for down, block in zip(self.downs, self.blocks, strict=True):
            x = block(F.silu(down(x)))
            seen.append(x)
        coarse = self.pyramid(x)
        middle = self.finer[0](torch.cat([enlarged(coarse), seen[2]], 1))
        fine = self.finer[1](torch.cat([enlarged(middle), seen[1]], 1))
        middle = self.coarser[0](torch.cat([F.silu(self.back[0](fine)), middle], 1))
        coarse = self.coarser[1](torch.cat([F.silu(self.back[1](middle)), coarse], 1))
        found = [head(each) for head, each in zip(self.heads, (fine, middle, coarse), strict=True)]
        return {"boxes": [boxes for boxes, _ in found], "scores": [scores for _, scores in found]}


def enlarged(x: Tensor) -> Tensor:
    """Images of twice the size, each pixel four times."""
    return F.interpolate(x, size=[2 * int(size) for size in x.shape[2:]])


def detector(
    classes: int = 3,
    image: int = 320,
    channels: Sequence[int] = (16, 32, 64, 128, 256),
    depth: int = 2,
    *,
    shares: Sequence[float] = (0.25, 0.5, 0.75),
    round_to: int = 8,
) -> SuperNet:
    """The super-network of :class:`Detector`: widths of and in all blocks and heads, and the bottlenecks of each block.

    Learn and judge it by ``nw.tasks.Detection(dense_boxes.loss, dense_boxes.decode)`` of
    :mod:`netwright.tasks.dense_boxes`; in a recipe ``"detection,criterion=netwright.tasks.dense_boxes:loss,
    decode=netwright.tasks.dense_boxes:decode"``.

    Args:
        classes, depth: see :class:`Detector`.
        image: side of the images, a multiple of 32.
        channels: see :class:`Detector`; even numbers but for the first.
        shares: options of each width, as shares of the whole.
        round_to: widths are multiples of this.
    """
    check_positive(classes=classes, image=image, depth=depth, round_to=round_to)
    if image % STRIDES[-1]:
        raise NetError(f"image is a multiple of {STRIDES[-1]}, not {image}")
    if len(channels) != 5 or any(not isinstance(c, int) or c < 1 for c in channels) or any(c % 2 for c in channels[1:]):
        raise NetError(f"channels are five numbers, even but for the first, not {list(channels)}")
    net = Detector(classes, channels, depth)
    makers = _Makers(net, shares, round_to)
    return SuperNet(net, [*makers.between(channels), *makers.inside()], torch.zeros(1, 3, image, image))


Read = tuple[str, int]
"""A unit, and where among its inputs what it reads begins."""


class _Makers:
    """Makes the axes of a detector."""

    def __init__(self, net: Detector, shares: Sequence[float], round_to: int) -> None:
        self._net, self._shares, self._round_to = net, shares, round_to

    def between(self, channels: Sequence[int]) -> Iterable[Axis]:
        """The widths of what blocks give, and the units between them. Concatenated, they begin further on."""
        c3, c4, c5 = channels[2:]

        def head(i: int) -> tuple[Read, ...]:
            return (f"heads.{i}.side", 0), (f"heads.{i}.each", 0), (f"heads.{i}.kind", 0)

        makes: dict[str, tuple[Read, ...]] = {
            "stem": (("downs.0", 0),),
            **{f"downs.{i}": ((f"blocks.{i}.enter", 0),) for i in range(4)},
            "blocks.0.leave": (("downs.1", 0),),
            "blocks.1.leave": (("downs.2", 0), ("finer.1.enter", c4)),
            "blocks.2.leave": (("downs.3", 0), ("finer.0.enter", c5)),
            "blocks.3.leave": (("pyramid.enter", 0),),
            "pyramid.leave": (("finer.0.enter", 0), ("coarser.1.enter", c4)),
            "finer.0.leave": (("finer.1.enter", 0), ("coarser.0.enter", c3)),
            "finer.1.leave": (("back.0", 0), *head(0)),
            "back.0": (("coarser.0.enter", 0),),
            "back.1": (("coarser.1.enter", 0),),
            "coarser.0.leave": (("back.1", 0), *head(1)),
            "coarser.1.leave": head(2),
        }
        for path, reads in makes.items():
            name = path.removesuffix(".leave") + ".width"
            through = [read for read, _ in reads if read.endswith(".each")]
            yield self._width(name, [(path, 0)], reads, through)

    def inside(self) -> Iterable[Axis]:
        """The widths in blocks and heads, and depths."""
        for path, block in self._net.named_modules():
            if isinstance(block, SplitBlock):
                deep = [f"{path}.bottlenecks.{i}" for i in range(len(block.bottlenecks))]
                inner = channels_of(self._net, f"{path}.enter") // 2
                yield Depth(f"{path}.depth", tuple(deep), tuple(range(len(deep) + 1)))
                yield self._width(
                    f"{path}.inner",
                    [(f"{path}.enter", 0), (f"{path}.enter", inner), *((f"{d}.conv2", 0) for d in deep)],
                    [*((f"{path}.leave", i * inner) for i in range(2 + len(deep))), *((f"{d}.conv1", 0) for d in deep)],
                    whole=inner,
                )
                for each in deep:
                    yield self._width(f"{each}.hidden", [(f"{each}.conv1", 0)], [(f"{each}.conv2", 0)])
            elif isinstance(block, PooledPyramid):
                inner = channels_of(self._net, f"{path}.enter")
                reads = [(f"{path}.leave", i * inner) for i in range(4)]
                yield self._width(f"{path}.inner", [(f"{path}.enter", 0)], reads)
            elif isinstance(block, Head):
                yield self._width(f"{path}.side", [(f"{path}.side", 0)], [(f"{path}.sides", 0)])
                yield self._width(f"{path}.kind", [(f"{path}.kind", 0)], [(f"{path}.kinds", 0)])

    def _width(
        self,
        name: str,
        out_of: Sequence[Read],
        into: Sequence[Read],
        through: Sequence[str] = (),
        whole: int | None = None,
    ) -> Width:
        """A width with the places where its channels begin; normalisation goes with its convolution."""
        slices = []
        for path, offset in [*out_of, *((each, 0) for each in through)]:
            norm = [f"{path}.bn.{own}" for own in ("weight", "bias", "running_mean", "running_var")]
            slices += [ChannelSlice(tensor, 0, offset) for tensor in (f"{path}.conv.weight", *norm)]
        for path, offset in into:
            if path not in through:
                tensor = "conv.weight" if isinstance(self._net.get_submodule(path), nn.Sequential) else "weight"
                slices.append(ChannelSlice(f"{path}.{tensor}", 1, offset))
        whole = whole or channels_of(self._net, out_of[0][0])
        return Width(name, tuple(slices), fractions(whole, self._shares, self._round_to))
