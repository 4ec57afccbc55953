"""Width: one size that several tensors share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn

from ...core.candidate import Option
from ...core.errors import NetError
from ..cut import Anatomy, Draft
from ..layers import BATCH_NORMS, CONVOLUTIONS
from .base import Axis, Region, check_options


@dataclass(frozen=True)
class Slot:
    """Where a width's channels lie in one dimension of one tensor.

    Channel ``i`` is at the indices ``offset + i * block`` to ``offset + (i + 1) * block``: ``offset`` is not 0
    behind a concatenation, ``block`` is not 1 behind a flatten of several positions per channel.
    """

    tensor: str
    dim: int
    offset: int = 0
    block: int = 1


@dataclass(frozen=True)
class Width(Axis):
    """The number of channels of a tied group: the first ``option`` channels stay, in every tensor of the group.

    Args:
        name: of the choice.
        slots: every place where the group's channels lie.
        options: numbers of channels; the last is the whole.
        counts: (module, attribute) pairs that hold the number of channels, such as a number of heads, or a number in
            proportion to it, such as the channels of all heads; in a tuple, the numbers that are either.
    """

    name: str
    slots: tuple[Slot, ...]
    options: tuple[int, ...]
    counts: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "slots", tuple(self.slots))
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
        anatomy = Anatomy(net)
        slots: list[Slot] = []
        sizes: dict[str, int] = {}

        def add(path: str, own: str, dim: int, block: int = 1) -> None:
            tensor = anatomy.tensors_of.get(path, {}).get(own)
            if tensor is not None:
                slots.append(Slot(tensor, dim, 0, block))
                sizes[f"{tensor} (dimension {dim})"] = anatomy.shapes[tensor][dim] // block

        for path in out_of:
            layer = anatomy.module(path)
            if isinstance(layer, nn.Embedding):
                add(path, "weight", 1)
            elif isinstance(layer, (*CONVOLUTIONS, nn.Linear)):
                add(path, "weight", 0)
                add(path, "bias", 0)
            else:
                raise NetError(f"width {name!r}: {path} is a {type(layer).__name__}; out_of= takes layers with weights")
        for path in through:
            layer = anatomy.module(path)
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
            layer = anatomy.module(path)
            if isinstance(layer, nn.Linear) and channels and layer.in_features % channels == 0:
                add(path, "weight", 1, layer.in_features // channels)
            elif isinstance(layer, (*CONVOLUTIONS, nn.Linear)):
                add(path, "weight", 1)
            else:
                raise NetError(f"width {name!r}: {path} is a {type(layer).__name__}; into= takes layers with weights")
        if len(set(sizes.values())) > 1:
            told = ", ".join(f"{k} has {v}" for k, v in sizes.items())
            raise NetError(f"width {name!r}: tied tensors must have the same number of channels, but {told}")
        # tied tensors are named once, however many layers hold them
        return cls(name, tuple(dict.fromkeys(slots)), check_options(name, options, channels))

    @property
    def channels(self) -> int:
        """The whole width."""
        return self.options[-1]

    def regions(self, anatomy: Anatomy) -> Iterable[Region]:
        return [(s.tensor, s.dim, s.offset, s.offset + self.channels * s.block) for s in self.slots]

    def places(self, anatomy: Anatomy) -> set[str]:
        for path, attribute in self.counts:
            now = vars(anatomy.module(path)).get(attribute)
            if self._scaled(now, 0) == now:
                raise NetError(
                    f"axis {self.name!r}: {path}.{attribute} is {now!r}; what counts= names must hold the number of "
                    f"channels, {self.channels}, or of all their indices"
                )
        return super().places(anatomy)

    def write(self, option: Option, draft: Draft, anatomy: Anatomy) -> None:
        if option != self.channels:
            for path, attribute in self.counts:
                whole = vars(anatomy.modules[path])[attribute]
                draft.set(path, attribute, self._scaled(whole, int(option)))  # type: ignore[arg-type]
        for s in self.slots:
            draft.drop(s.tensor, s.dim, s.offset + int(option) * s.block, s.offset + self.channels * s.block)  # type: ignore[arg-type]

    def _scaled(self, whole: Any, option: int) -> Any:
        """A number, or those in a tuple, that counts the channels or all their indices, for fewer channels."""
        if isinstance(whole, tuple | list):
            return type(whole)(self._scaled(part, option) for part in whole)
        sizes = {self.channels * block for block in (1, *(s.block for s in self.slots))}
        return whole * option // self.channels if type(whole) is int and whole in sizes else whole
