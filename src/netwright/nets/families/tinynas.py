"""Networks that once-for-all searches found for microcontrollers: MCUNet (Lin et al. 2020) and ProxylessNAS
(Cai et al. 2019), built from the JSON files that were published with their weights.

Images are expected as ``(x / 255 - 0.5) / 0.5``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...core.errors import NetError, format_error
from ..axes import Axis, Depth, Kernel, fractions
from ..supernet import SuperNet
from .parts import tie, unit


@dataclass(frozen=True)
class Block:
    """One inverted bottleneck. ``expands`` is whether it begins with a 1x1 convolution to ``hidden`` channels."""

    kernel: int
    stride: int
    into: int
    hidden: int
    out: int
    expands: bool
    shortcut: bool


@dataclass(frozen=True)
class Description:
    """A network as its JSON file tells it.

    Args:
        image: side of the images.
        eps: of batch normalisation.
        stem: window, stride and channels of the first convolution.
        blocks: in order; None stands where the search skipped one.
        mix: channels of the 1x1 convolution before pooling; None for none.
        classes: number of classes.
    """

    image: int
    eps: float
    stem: tuple[int, int, int]
    blocks: tuple[Block | None, ...]
    mix: int | None
    classes: int


class Convolutions(nn.Module):
    """The convolutions of a block: expand, filter each channel, project."""

    def __init__(self, block: Block, eps: float) -> None:
        super().__init__()
        self.inverted_bottleneck = unit(block.into, block.hidden, 1, 1, 0, eps=eps) if block.expands else None
        self.depth_conv = unit(
            block.hidden, block.hidden, block.kernel, block.stride, block.kernel // 2, groups=block.hidden, eps=eps
        )
        self.point_linear = unit(block.hidden, block.out, 1, 1, 0, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        if self.inverted_bottleneck is not None:
            x = F.relu6(self.inverted_bottleneck(x))
        return self.point_linear(F.relu6(self.depth_conv(x)))


class TinyNasBlock(nn.Module):
    """The convolutions of a block, and its input added to them where the description says so."""

    def __init__(self, block: Block, eps: float) -> None:
        super().__init__()
        self.mobile_inverted_conv = Convolutions(block, eps)
        self.shortcut = block.shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = self.mobile_inverted_conv(x)
        return x + y if self.shortcut else y


class Classifier(nn.Module):
    """A linear layer, with the name that published weights give it."""

    def __init__(self, into: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(into, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


class TinyNas(nn.Module):
    """The network of a :class:`Description`; tensor names are those of published weights."""

    def __init__(self, found: Description) -> None:
        super().__init__()
        kernel, stride, channels = found.stem
        self.first_conv = unit(3, channels, kernel, stride, kernel // 2, eps=found.eps)
        # Skipped blocks keep their place: the weights of the others are named by it.
        self.blocks = nn.Sequential(
            *(TinyNasBlock(block, found.eps) if block else nn.Identity() for block in found.blocks)
        )
        last = next((block.out for block in reversed(found.blocks) if block), channels)
        self.feature_mix_layer = unit(last, found.mix, 1, 1, 0, eps=found.eps) if found.mix else None
        self.classifier = Classifier(found.mix or last, found.classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(F.relu6(self.first_conv(x)))
        if self.feature_mix_layer is not None:
            x = F.relu6(self.feature_mix_layer(x))
        return self.classifier(x.mean((2, 3)))


def from_json(path: str | Path, shares: Sequence[float] = (0.25, 0.5, 0.75), round_to: int = 8) -> SuperNet:
    """The super-network whose largest sub-network a JSON file describes.

    Args:
        path: of the file, as published with MCUNet: ``resolution``, ``bn_eps``, ``first_conv``, ``blocks``,
            ``feature_mix`` and ``num_classes``; see :func:`read`.
        shares: options of each hidden width, as shares of the whole.
        round_to: hidden widths are multiples of this.

    Returns:
        A super-network with the hidden width of each block (``blocks.N.expand``), its window where that is larger
        than 3 (``blocks.N.kernel``, cropped from the centre), and for each run of blocks that add their input, how
        many of them run after the one before (``stageN.depth``). The widths between blocks stay whole.

    Raises :class:`NetError` for a file that cannot be read or tells of something else.
    """
    found = read(path)
    net = TinyNas(found)
    axes: list[Axis] = []

    def widths(name: str, whole: int, out_of: str, into: str, through: Sequence[str] = ()) -> None:
        axes.append(tie(net, name, fractions(whole, shares, round_to), out_of=[out_of], through=through, into=[into]))

    stages: list[list[str]] = []
    for i, block in enumerate(found.blocks):
        if block is None:
            continue
        if not (block.shortcut and stages):
            stages.append([])
        stages[-1].append(f"blocks.{i}")
        layers = f"blocks.{i}.mobile_inverted_conv"
        if block.expands:
            makes = f"{layers}.inverted_bottleneck"
            widths(f"blocks.{i}.expand", block.hidden, makes, f"{layers}.point_linear", [f"{layers}.depth_conv"])
        if block.kernel > 3:
            axes.append(Kernel(f"blocks.{i}.kernel", f"{layers}.depth_conv.conv", tuple(range(3, block.kernel + 1, 2))))
    for s, blocks in enumerate(stages):
        if len(blocks) > 1:
            axes.append(Depth(f"stage{s}.depth", tuple(blocks), tuple(range(1, len(blocks) + 1))))
    if found.mix:
        widths("feature_mix.width", found.mix, "feature_mix_layer", "classifier")
    reasons = {path: "the widths between blocks stay whole" for path, _ in net.named_modules()}
    return SuperNet(net, axes, torch.zeros(1, 3, found.image, found.image), reasons)


def read(path: str | Path) -> Description:
    """A JSON file, checked: sizes are positive and bounded, channels fit, and nothing is asked for that is not built.

    A block has ``kernel_size``, ``stride``, ``in_channels``, ``out_channels``, ``expand_ratio``, ``mid_channels``
    (null for the ratio times the input), ``shortcut``, ``act`` and ``use_se``; null stands for a skipped block.
    """
    try:
        whole = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise NetError(f"{path} cannot be read: {format_error(error)}") from None
    place = str(path)

    def no(at: str, why: str) -> NetError:
        return NetError(f"{place}: {at} {why}")

    def part(of: Any, key: str, at: str) -> Any:
        if not isinstance(of, Mapping) or key not in of:
            raise no(at, f"must be an object with {key!r}; see netwright.nets.families.tinynas.read")
        return of[key]

    def number(of: Any, key: str, at: str, most: int = 1 << 14) -> int:
        value = part(of, key, at)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            raise no(f"{at}.{key}", f"must be a whole number from 1 to {most}, not {value!r}")
        return value

    def plain(of: Any, at: str) -> None:
        if part(of, "act", at) != "relu6" or of.get("use_se"):
            raise no(at, "must have act 'relu6' and no squeeze-and-excitation; other networks are not built here")

    def window(of: Any, at: str) -> int:
        kernel = number(of, "kernel_size", at, 31)
        if kernel % 2 == 0:
            raise no(f"{at}.kernel_size", f"must be odd, not {kernel}")
        return kernel

    stem = part(whole, "first_conv", "the file")
    plain(stem, "first_conv")
    channels = number(stem, "out_channels", "first_conv")
    first = (window(stem, "first_conv"), number(stem, "stride", "first_conv", 4), channels)
    blocks: list[Block | None] = []
    entries = part(whole, "blocks", "the file")
    if not isinstance(entries, list) or len(entries) > 1000:
        raise no("blocks", "must be a list of at most 1000")
    for i, entry in enumerate(entries):
        if entry is None:
            blocks.append(None)
            continue
        at = f"blocks[{i}]"
        plain(entry, at)
        into, out = number(entry, "in_channels", at), number(entry, "out_channels", at)
        ratio, stride = part(entry, "expand_ratio", at), number(entry, "stride", at, 4)
        if not isinstance(ratio, int | float) or not 0 < ratio <= 64:
            raise no(f"{at}.expand_ratio", f"must be a number up to 64, not {ratio!r}")
        given = entry.get("mid_channels")
        hidden = max(1, round(into * ratio)) if given is None else number(entry, "mid_channels", at)
        if into != channels:
            raise no(f"{at}.in_channels", f"is {into}, but the block before gives {channels}")
        if ratio == 1 and hidden != into:
            raise no(f"{at}.mid_channels", f"is {hidden}, but a block with expand_ratio 1 keeps its {into} channels")
        shortcut = bool(part(entry, "shortcut", at))
        if shortcut and (stride > 1 or into != out):
            raise no(f"{at}.shortcut", "needs stride 1 and as many channels out as in")
        blocks.append(Block(window(entry, at), stride, into, hidden, out, ratio != 1, shortcut))
        channels = out
    mix = part(whole, "feature_mix", "the file")
    if mix is not None:
        plain(mix, "feature_mix")
    eps = part(whole, "bn_eps", "the file")
    if not isinstance(eps, float) or not 0 < eps < 1:
        raise no("bn_eps", f"must be a number between 0 and 1, not {eps!r}")
    return Description(
        image=number(whole, "resolution", "the file", 4096),
        eps=eps,
        stem=first,
        blocks=tuple(blocks),
        mix=None if mix is None else number(mix, "out_channels", "feature_mix"),
        classes=number(whole, "num_classes", "the file", 1 << 17),
    )
