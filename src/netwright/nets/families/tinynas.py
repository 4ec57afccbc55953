"""Networks that once-for-all searches found for microcontrollers: MCUNet (Lin et al. 2020) and ProxylessNAS
(Cai et al. 2019), built from the JSON files that were published with their weights.

Images are expected as ``(x / 255 - 0.5) / 0.5``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...core.errors import NetError, format_error
from ...core.files import read_json
from ...core.shape import told
from ..axes import Axis, Depth, Kernel, fractions
from ..supernet import SuperNet
from ..units import unit
from .parts import tie

MOST_WEIGHTS = 10**9
"""Of all blocks, besides their windows: a few letters of a file may stand for any number."""


@dataclass(frozen=True)
class BlockSpec:
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
        eps: the epsilon of batch normalisation.
        stem: window, stride and channels of the first convolution.
        blocks: the blocks, in order; None stands where the search skipped one.
        mix: channels of the 1x1 convolution before pooling; None for none.
        classes: number of classes.
    """

    image: int
    eps: float
    stem: tuple[int, int, int]
    blocks: tuple[BlockSpec | None, ...]
    mix: int | None
    classes: int


class Convolutions(nn.Module):
    """The convolutions of a block: expand, filter each channel, project."""

    def __init__(self, block: BlockSpec, eps: float) -> None:
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

    def __init__(self, block: BlockSpec, eps: float) -> None:
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


def from_json(
    path: str | Path,
    shares: Sequence[float] = (0.25, 0.5, 0.75),
    round_to: int = 8,
    between: Sequence[float] = (),
) -> SuperNet:
    """The super-network whose largest sub-network a JSON file describes.

    Args:
        path: the path of the file, as published with MCUNet: ``resolution``, ``bn_eps``, ``first_conv``, ``blocks``,
            ``feature_mix`` and ``num_classes``; see :func:`read`.
        shares: options of each hidden width, as shares of the whole.
        round_to: widths are multiples of this.
        between: options of the widths between blocks, as shares of the whole, which a trained network does not easily
            do without; none leaves them whole.

    Returns:
        A super-network with the hidden width of each block (``blocks.N.expand``), its window where that is larger
        than 3 (``blocks.N.kernel``, cropped from the centre), and for each run of blocks that add their input, how
        many of them run after the one before (``stageN.depth``). With ``between`` also the width of each such run and
        of the block before it (``stageN.width``), and of the stem (``stem.width``).

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
    reasons = {} if between else {path: "the widths between blocks stay whole" for path, _ in net.named_modules()}
    if between:
        axes += _between(net, found, between, round_to)
    return SuperNet(net, axes, torch.zeros(1, 3, found.image, found.image), reasons)


def _between(net: TinyNas, found: Description, shares: Sequence[float], round_to: int) -> Iterator[Axis]:
    """The widths between blocks: what the blocks before and all that add their input have in common."""
    name, whole, stage = "stem.width", found.stem[2], 0
    out_of, through, into = ["first_conv"], list[str](), list[str]()

    def width() -> Axis:
        return tie(net, name, fractions(whole, shares, round_to, "between"), out_of=out_of, through=through, into=into)

    for i, block in enumerate(found.blocks):
        if block is None:
            continue
        layers = f"blocks.{i}.mobile_inverted_conv"
        if block.expands:
            into.append(f"{layers}.inverted_bottleneck")
        else:
            through.append(f"{layers}.depth_conv")
            into.append(f"{layers}.point_linear")
        if not block.shortcut:
            yield width()
            name, whole = f"stage{stage}.width", block.out
            out_of, through, into = [], [], []
        stage += not block.shortcut or not stage
        out_of.append(f"{layers}.point_linear")
    into.append("feature_mix_layer" if found.mix else "classifier")
    yield width()


def read(path: str | Path) -> Description:
    """A JSON file, checked: sizes are positive and bounded, channels fit, and nothing is asked for that is not built.

    A block has ``kernel_size``, ``stride``, ``in_channels``, ``out_channels``, ``expand_ratio``, ``mid_channels``
    (null for the ratio times the input), ``shortcut``, ``act`` and ``use_se``; null stands for a skipped block.
    """
    try:
        whole = _Part(str(path), "the file", read_json(Path(path)))
    except (OSError, ValueError) as error:
        raise NetError(f"{path} cannot be read: {format_error(error)}") from None
    stem = whole.part("first_conv")
    stem.check_layer()
    channels = stem.number("out_channels")
    first = (stem.window(), stem.number("stride", 4), channels)
    entries = whole.get("blocks")
    if not isinstance(entries, list) or len(entries) > 1000:
        raise whole.error("blocks", "must be a list of at most 1000")
    blocks: list[BlockSpec | None] = []
    for i, entry in enumerate(entries):
        block = None if entry is None else _block(_Part(str(path), f"blocks[{i}]", entry), channels)
        blocks.append(block)
        channels = block.out if block else channels
    if (weights := sum(block.hidden * (block.into + block.out) for block in blocks if block)) > MOST_WEIGHTS:
        raise whole.error("blocks", f"describe {weights:,} weights, of which {MOST_WEIGHTS:,} are built at most")
    mix = None if whole.get("feature_mix") is None else whole.part("feature_mix")
    if mix is not None:
        mix.check_layer()
    eps = whole.get("bn_eps")
    if not isinstance(eps, float) or not 0 < eps < 1:
        raise whole.error("bn_eps", f"must be a number between 0 and 1, not {told(eps)}")
    return Description(
        image=whole.number("resolution", 4096),
        eps=eps,
        stem=first,
        blocks=tuple(blocks),
        mix=None if mix is None else mix.number("out_channels"),
        classes=whole.number("num_classes", 1 << 17),
    )


@dataclass(frozen=True)
class _Part:
    """An object in a JSON file.

    Args:
        file: the path of the file, for errors.
        at: where in it.
        held: what stands there.
    """

    file: str
    at: str
    held: Any

    def error(self, at: str, why: str) -> NetError:
        return NetError(f"{self.file}: {at} {why}")

    def get(self, key: str) -> Any:
        if not isinstance(self.held, Mapping) or key not in self.held:
            raise self.error(self.at, f"must be an object with {key!r}; see netwright.nets.families.tinynas.read")
        return self.held[key]

    def part(self, key: str) -> _Part:
        return _Part(self.file, key, self.get(key))

    def number(self, key: str, most: int = 1 << 14) -> int:
        value = self.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            raise self.error(f"{self.at}.{key}", f"must be a whole number from 1 to {most}, not {told(value)}")
        return value

    def window(self) -> int:
        kernel = self.number("kernel_size", 31)
        if kernel % 2 == 0:
            raise self.error(f"{self.at}.kernel_size", f"must be odd, not {kernel}")
        return kernel

    def check_layer(self) -> None:
        """Refuse what is not built here."""
        if self.get("act") != "relu6" or self.held.get("use_se"):
            raise self.error(
                self.at, "must have act 'relu6' and no squeeze-and-excitation; other networks are not built here"
            )


def _block(entry: _Part, channels: int) -> BlockSpec:
    """A block of the file, which is given ``channels`` channels."""
    entry.check_layer()
    at = entry.at
    into, out = entry.number("in_channels"), entry.number("out_channels")
    ratio, stride = entry.get("expand_ratio"), entry.number("stride", 4)
    if not isinstance(ratio, int | float) or not 0 < ratio <= 64:
        raise entry.error(f"{at}.expand_ratio", f"must be a number up to 64, not {told(ratio)}")
    given = entry.held.get("mid_channels")
    hidden = max(1, round(into * ratio)) if given is None else entry.number("mid_channels")
    if into != channels:
        raise entry.error(f"{at}.in_channels", f"is {into}, but the block before gives {channels}")
    if ratio == 1 and hidden != into:
        raise entry.error(
            f"{at}.mid_channels", f"is {hidden}, but a block with expand_ratio 1 keeps its {into} channels"
        )
    shortcut = bool(entry.get("shortcut"))
    if shortcut and (stride > 1 or into != out):
        raise entry.error(f"{at}.shortcut", "needs stride 1 and as many channels out as in")
    return BlockSpec(entry.window(), stride, into, hidden, out, ratio != 1, shortcut)
