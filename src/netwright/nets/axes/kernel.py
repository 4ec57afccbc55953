"""Kernel: the size of a convolution's window, cropped from its centre."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...core.candidate import Option
from ...core.errors import NetError
from ..cut import CutBuilder, ModuleIndex
from ..layers import CONVOLUTIONS, Shape
from ..transforms import Transform
from .base import Axis, Region


@dataclass(frozen=True)
class Kernel(Axis):
    """The centre ``option`` x ``option`` of a square, odd window stays, and the padding shrinks with it.

    The output keeps its size. Cropping without a transform is the sharing of single-path NAS. Once-for-all (Cai et
    al. 2020, section 3.3) adds learned matrices: every smaller window is the centre of the next larger one,
    flattened and multiplied by a matrix that all channels of the layer share.

    Args:
        name: the name of the choice.
        layer: path of the convolution.
        options: odd sizes; the last is the whole.
        transformed: whether the layer has the matrices that :func:`add_transforms` gives it.
    """

    name: str
    layer: str
    options: tuple[int, ...]
    transformed: bool = False

    def __post_init__(self) -> None:
        options = tuple(sorted({int(o) for o in self.options}))
        if not options or any(o % 2 == 0 or o < 1 for o in options):
            raise NetError(f"axis {self.name!r}: kernel sizes must be odd and positive, got {list(self.options)}")
        object.__setattr__(self, "options", options)

    def _layer(self, index: ModuleIndex) -> Any:
        layer: Any = index.module(self.layer)
        if not isinstance(layer, CONVOLUTIONS) or set(layer.kernel_size) != {self.options[-1]}:
            raise NetError(
                f"axis {self.name!r}: {self.layer} must be a convolution with a square window of {self.options[-1]}"
            )
        if "weight" not in index.tensors_of.get(self.layer, {}):
            raise NetError(
                f"axis {self.name!r}: {self.layer} makes its weight of other tensors (weight_norm does); "
                "remove the parametrization, which leaves the weight"
            )
        if isinstance(layer.padding, str) and layer.padding != "same":
            raise NetError(f"axis {self.name!r}: {self.layer} has padding={layer.padding!r}; give it numbers or 'same'")
        if not isinstance(layer.padding, str):
            for pad, dilation in zip(layer.padding, layer.dilation, strict=True):
                if pad < (self.options[-1] - self.options[0]) // 2 * dilation:
                    raise NetError(
                        f"axis {self.name!r}: {self.layer} is padded by {pad}, too little to crop its window"
                    )
        missing = [m for m in self._matrices() if m not in layer._parameters]
        if missing:
            raise NetError(
                f"axis {self.name!r}: {self.layer} has no {missing[0]}; call add_transforms on the layer first"
            )
        return layer

    def _matrices(self) -> list[str]:
        """The layer's own names of its matrices, from the largest window down."""
        return [matrix(a, b) for a, b in pairwise(reversed(self.options))] if self.transformed else []

    def keeping(self, options: Sequence[Option]) -> Kernel:
        if self.transformed and tuple(options) != self.options[-len(options) :]:
            raise NetError(
                f"axis {self.name!r}: each window is made of the next larger one: leave out the smallest, not others; "
                f"it has {list(self.options)}"
            )
        return replace(self, options=tuple(int(each) for each in options))  # type: ignore[arg-type]

    def regions(self, index: ModuleIndex) -> Iterable[Region]:
        self._layer(index)
        tensor = index.tensors_of[self.layer]["weight"]
        return [(tensor, d, 0, n) for d, n in enumerate(index.shapes[tensor]) if d >= 2]

    def write(self, option: Option, builder: CutBuilder, index: ModuleIndex) -> None:
        layer: Any = index.modules[self.layer]
        own = index.tensors_of[self.layer]
        for name in self._matrices():
            builder.auxiliary(own[name])
        ring = (self.options[-1] - int(option)) // 2  # type: ignore[arg-type]
        if ring == 0:
            return
        if self.transformed:
            sizes = tuple(o for o in reversed(self.options) if o >= option)  # type: ignore[operator]
            reads = tuple(own[matrix(a, b)] for a, b in pairwise(sizes))
            builder.transform(own["weight"], Transformed(sizes, reads))
        else:
            for tensor, dim, _, size in self.regions(index):
                builder.drop(tensor, dim, 0, ring)
                builder.drop(tensor, dim, size - ring, size)
        if isinstance(layer.padding, str):
            total = [d * (int(option) - 1) for d in layer.dilation]  # type: ignore[arg-type]
            sides = [side for t in reversed(total) for side in (t // 2, t - t // 2)]
            builder.set(self.layer, "_reversed_padding_repeated_twice", sides)
            return
        padding = tuple(p - ring * d for p, d in zip(layer.padding, layer.dilation, strict=True))
        builder.set(self.layer, "padding", padding)
        # What torch derives from the padding when the layer is made, for padding modes other than zeros.
        builder.set(self.layer, "_reversed_padding_repeated_twice", [p for p in reversed(padding) for _ in range(2)])


@dataclass(frozen=True)
class Transformed(Transform):
    """A window made of a larger one, step by step: crop to the next size, multiply by that step's matrix.

    Args:
        sizes: the sizes of the windows, from the whole down.
        reads: names of the matrices, one for each step.
    """

    kind = "crop"
    sizes: tuple[int, ...]
    reads: tuple[str, ...] = ()

    def shape(self, kept: Shape) -> Shape:
        return (*kept[:2], *(self.sizes[-1] for _ in kept[2:]))

    def __call__(self, kept: Tensor, *others: Tensor) -> Tensor:
        for (larger, size), square in zip(pairwise(self.sizes), others, strict=True):
            ring = (larger - size) // 2
            for dim in range(2, kept.dim()):
                kept = kept.narrow(dim, ring, size)
            kept = F.linear(kept.flatten(2), square).reshape(kept.shape)
        return kept


def matrix(larger: int, size: int) -> str:
    """The name of the matrix that makes windows of ``size`` of larger ones, as in published once-for-all weights."""
    return f"{larger}to{size}_matrix"


def add_transforms(layer: nn.Module, sizes: Sequence[int]) -> None:
    """Give a convolution the matrices of a transformed :class:`Kernel` axis, as parameters; they begin as identities.

    Args:
        layer: the convolution; its forward does not use them.
        sizes: the sizes of the windows, in any order; the largest is the layer's own.
    """
    if not isinstance(layer, CONVOLUTIONS) or set(layer.kernel_size) != {max(sizes)}:
        raise NetError(
            f"transforms of {sorted(sizes)} need a convolution with a square window of {max(sizes)}: {layer}"
        )
    dims, weight = len(layer.kernel_size), layer.weight
    for larger, size in pairwise(sorted(set(sizes), reverse=True)):
        square = torch.eye(size**dims, dtype=weight.dtype, device=weight.device)
        layer.register_parameter(matrix(larger, size), nn.Parameter(square))
