"""Width: one size that several tensors share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from ...core.candidate import Option
from ...core.errors import NetError
from ..cut import CutBuilder, ModuleIndex
from ..layers import BATCH_NORMS, CONVOLUTIONS, is_linear, is_transposed_linear
from ..places import is_number
from .base import Axis, Region, check_options


@dataclass(frozen=True)
class ChannelSlice:
    """Where a width's channels lie in one dimension of one tensor.

    Channel ``i`` is at the indices ``offset + i * block`` to ``offset + (i + 1) * block``: ``offset`` is not 0
    behind a concatenation, ``block`` is not 1 behind a flatten of several positions per channel.
    """

    tensor: str
    dim: int
    offset: int = 0
    block: int = 1


SizeAttribute = tuple[str, str] | tuple[str, str, int]
"""A module and an attribute that counts channels; see :class:`Width`."""


@dataclass(frozen=True)
class Width(Axis):
    """The number of channels of a tied group: the first ``option`` channels stay, in every tensor of the group.

    Args:
        name: the name of the choice.
        slices: every place where the group's channels lie.
        options: numbers of channels; the last is the whole.
        size_attributes: (module, attribute) pairs that hold the number of channels, such as a number of heads, or a
            number in proportion to it, such as the channels of all heads; in a tuple, the numbers that are either.
            What a config or a dict in an attribute holds is named with dots: ``config.n_head``. A third entry says by
            how much the number falls with each channel, for numbers that are a total of several widths.
    """

    name: str
    slices: tuple[ChannelSlice, ...]
    options: tuple[int, ...]
    size_attributes: tuple[SizeAttribute, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "slices", tuple(self.slices))
        options = tuple(self.options)
        object.__setattr__(self, "options", check_options(self.name, options, max(options, default=0)))

    @classmethod
    def tie(
        cls,
        net: nn.Module,
        name: str,
        options: Iterable[int],
        *,
        out_of: Iterable[str],
        through: Iterable[str] = (),
        into: Iterable[str] = (),
    ) -> Width:
        """The group that some layers make, others pass on, and others read.

        Args:
            net: the network; the layers are named by their paths in it.
            out_of: layers whose outputs are the group's channels (convolution, linear, embedding).
            through: layers that keep channels apart (normalisation, depthwise convolution, PReLU).
            into: layers that read the channels (convolution, linear). A linear layer behind a flatten of ``p``
                positions reads ``p`` inputs per channel; this is found from its size.
        """
        index = ModuleIndex(net)
        slices: list[ChannelSlice] = []
        sizes: dict[str, int] = {}

        def add(path: str, own: str, dim: int, block: int = 1) -> None:
            tensor = index.tensors_of.get(path, {}).get(own)
            if tensor is not None:
                slices.append(ChannelSlice(tensor, dim, 0, block))
                sizes[f"{tensor} (dimension {dim})"] = index.shapes[tensor][dim] // block

        for path in out_of:
            layer = index.module(path)
            if isinstance(layer, nn.Embedding):
                add(path, "weight", 1)
            elif isinstance(layer, CONVOLUTIONS) or is_linear(layer):
                add(path, "weight", int(is_transposed_linear(layer)))
                add(path, "bias", 0)
            else:
                raise NetError(f"width {name!r}: {path} is a {type(layer).__name__}; out_of= takes layers with weights")
        for path in through:
            layer = index.module(path)
            if isinstance(layer, CONVOLUTIONS) and not layer.groups == layer.in_channels == layer.out_channels:
                raise NetError(f"width {name!r}: {path} mixes channels; list it in out_of= and into=")
            if not isinstance(layer, (*CONVOLUTIONS, *BATCH_NORMS, nn.LayerNorm, nn.RMSNorm, nn.PReLU)):
                raise NetError(
                    f"width {name!r}: {path} is a {type(layer).__name__}; through= takes layers with weights"
                )
            for own in ("weight", "bias", "running_mean", "running_var"):
                add(path, own, 0)
        channels = min(sizes.values(), default=0)
        for path in into:
            layer = index.module(path)
            if isinstance(layer, nn.Linear) and channels and layer.in_features % channels == 0:
                add(path, "weight", 1, layer.in_features // channels)
            elif isinstance(layer, CONVOLUTIONS) or is_linear(layer):
                add(path, "weight", int(not is_transposed_linear(layer)))
            else:
                raise NetError(f"width {name!r}: {path} is a {type(layer).__name__}; into= takes layers with weights")
        if len(set(sizes.values())) > 1:
            listed = ", ".join(f"{k} has {v}" for k, v in sizes.items())
            raise NetError(f"width {name!r}: tied tensors must have the same number of channels, but {listed}")
        # tied tensors are named once, however many layers hold them
        return cls(name, tuple(dict.fromkeys(slices)), check_options(name, options, channels))

    @property
    def channels(self) -> int:
        """The whole width."""
        return self.options[-1]

    def regions(self, index: ModuleIndex) -> Iterable[Region]:
        return [(s.tensor, s.dim, s.offset, s.offset + self.channels * s.block) for s in self.slices]

    def affected_modules(self, index: ModuleIndex) -> set[str]:
        self.counted(index)
        return super().affected_modules(index)

    def write(self, option: Option, builder: CutBuilder, index: ModuleIndex) -> None:
        gone = self.channels - int(option)  # type: ignore[arg-type]
        if gone:
            for path, place, times in self.counted(index):
                builder.less(path, place, gone * times)
        for s in self.slices:
            builder.drop(s.tensor, s.dim, s.offset + int(option) * s.block, s.offset + self.channels * s.block)  # type: ignore[arg-type]

    def counted(self, index: ModuleIndex) -> list[tuple[str, str, int]]:
        """Module, place of a number, and by how much it falls with each channel."""
        sizes = {self.channels * block for block in (1, *(s.block for s in self.slices))}
        found: list[tuple[str, str, int]] = []
        for path, place, *times in self.size_attributes:
            now = index.number(path, place)
            several = isinstance(now, tuple | list)
            own = [
                (path, f"{place}.{at}" if several else place, times[0] if times else value // self.channels)
                for at, value in enumerate(now if several else (now,))
                if is_number(value) and (value >= times[0] * self.channels if times else value in sizes)
            ]
            if not own:
                raise NetError(
                    f"axis {self.name!r}: {path}.{place} is {now!r}; what size_attributes= names must hold the "
                    f"number of channels, {self.channels}, or of all their indices"
                )
            found += own
        return found
