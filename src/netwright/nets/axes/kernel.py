"""Kernel: the size of a convolution's window, cropped from its centre."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ...core.candidate import Option
from ...core.errors import NetError
from ..cut import Anatomy, Draft
from ..layers import CONVOLUTIONS
from .base import Axis, Region


@dataclass(frozen=True)
class Kernel(Axis):
    """The centre ``option`` x ``option`` of a square, odd window stays, and the padding shrinks with it.

    The output keeps its size. Cropping without a transform is the sharing of single-path NAS; once-for-all
    (Cai et al. 2020, section 3.3) adds a learned transform.

    Args:
        name: of the choice.
        layer: path of the convolution.
        options: odd sizes; the last is the whole.
    """

    name: str
    layer: str
    options: tuple[int, ...]

    def __post_init__(self) -> None:
        options = tuple(sorted({int(o) for o in self.options}))
        if not options or any(o % 2 == 0 or o < 1 for o in options):
            raise NetError(f"axis {self.name!r}: kernel sizes must be odd and positive, got {list(self.options)}")
        object.__setattr__(self, "options", options)

    def _layer(self, anatomy: Anatomy) -> Any:
        layer: Any = anatomy.module(self.layer)
        if not isinstance(layer, CONVOLUTIONS) or set(layer.kernel_size) != {self.options[-1]}:
            raise NetError(
                f"axis {self.name!r}: {self.layer} must be a convolution with a square window of {self.options[-1]}"
            )
        if isinstance(layer.padding, str) and layer.padding != "same":
            raise NetError(f"axis {self.name!r}: {self.layer} has padding={layer.padding!r}; give it numbers or 'same'")
        if not isinstance(layer.padding, str):
            for pad, dilation in zip(layer.padding, layer.dilation, strict=True):
                if pad < (self.options[-1] - self.options[0]) // 2 * dilation:
                    raise NetError(
                        f"axis {self.name!r}: {self.layer} is padded by {pad}, too little to crop its window"
                    )
        return layer

    def regions(self, anatomy: Anatomy) -> Iterable[Region]:
        self._layer(anatomy)
        tensor = anatomy.tensors_of[self.layer]["weight"]
        return [(tensor, d, 0, n) for d, n in enumerate(anatomy.shapes[tensor]) if d >= 2]

    def write(self, option: Option, draft: Draft, anatomy: Anatomy) -> None:
        layer: Any = anatomy.modules[self.layer]
        ring = (self.options[-1] - int(option)) // 2  # type: ignore[arg-type]
        if ring == 0:
            return
        for tensor, dim, _, size in self.regions(anatomy):
            draft.drop(tensor, dim, 0, ring)
            draft.drop(tensor, dim, size - ring, size)
        if isinstance(layer.padding, str):
            total = [d * (int(option) - 1) for d in layer.dilation]  # type: ignore[arg-type]
            sides = [side for t in reversed(total) for side in (t // 2, t - t // 2)]
            draft.set(self.layer, "_reversed_padding_repeated_twice", sides)
            return
        padding = tuple(p - ring * d for p, d in zip(layer.padding, layer.dilation, strict=True))
        draft.set(self.layer, "padding", padding)
        # What torch derives from the padding when the layer is made, for padding modes other than zeros.
        draft.set(self.layer, "_reversed_padding_repeated_twice", [p for p in reversed(padding) for _ in range(2)])
