"""Transforms: what a sub-network's tensor is made of, beside the indices that stay, and what it costs to store it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar

from torch import Tensor

from .layers import Shape

KINDS = ("crop", "mix", "mask", "factorise", "round")
"""The kinds of transforms, in the order in which those of one tensor are applied, whatever the order of the axes.

First the indices that stay are taken. ``crop`` makes another window of a kernel, ``mix`` combines several sets of
weights, ``mask`` sets some numbers to zero, ``factorise`` approximates by a product of thinner factors, and ``round``
takes fewer bits. A tensor has one transform of a kind.
"""


@dataclass(frozen=True)
class Stored:
    """How a sub-network stores a tensor.

    Args:
        shape: its shape, as the layer reads it.
        numbers: how many numbers are stored for it: fewer than its elements where some are zero or follow from others.
        bits: bits of each of these numbers.
        more_bytes: what is stored beside them: scales, positions, code books.
        macs: multiply-accumulates that a run takes to make the tensor of what is stored; none where it is stored as it
            is read.
    """

    shape: Shape
    numbers: int
    bits: int
    more_bytes: int = 0
    macs: int = 0

    @property
    def bytes(self) -> int:
        """All bytes that are stored for it; numbers of a few bits share bytes."""
        return -(-self.numbers * self.bits // 8) + self.more_bytes

    def of_shape(self, shape: Shape) -> Stored:
        """The same for a tensor of another shape: everything in proportion to the elements, rounded up."""
        before, now = prod(self.shape), prod(shape)
        if before == now:
            return replace(self, shape=shape)
        numbers, more, macs = (-(-n * now // max(before, 1)) for n in (self.numbers, self.more_bytes, self.macs))
        return Stored(shape, numbers, self.bits, more, macs)


class Transform(ABC):
    """A small differentiable function that makes a sub-network's tensor of what the cut keeps of the whole one.

    It is plain data: equal for equal sub-networks.

    Attributes:
        kind: one of :data:`KINDS`, which says when it is applied.
        reads: other tensors that it needs. It gets of each what the sub-network has of it, its own transforms included.
        alike: those of ``reads`` that go with the tensor, index for index (other sets of weights, scores for a mask,
            a number for each row): they are cut as the tensor is, by whatever axis cuts it, in the dimensions in which
            they have its size, and for a ``mix`` cropped as it is where they have its shape.
    """

    kind: ClassVar[str]
    reads: tuple[str, ...] = ()
    alike: tuple[str, ...] = ()

    def shape(self, kept: Shape) -> Shape:
        """The shape of what it makes of a tensor of shape ``kept``; the same, unless said otherwise."""
        return kept

    def stored(self, before: Stored) -> Stored:
        """How what it makes is stored, of how the tensor would be stored without it: as before, in its new shape."""
        return before.of_shape(self.shape(before.shape))

    @abstractmethod
    def __call__(self, kept: Tensor, *others: Tensor) -> Tensor:
        """The sub-network's tensor; ``others`` are those of :attr:`reads`, in their order."""


Transforms = Mapping[str, tuple[Transform, ...]]
"""By tensor, its transforms in the order of :data:`KINDS`."""


def in_order(transforms: Iterable[Transform]) -> tuple[Transform, ...]:
    """Transforms of one tensor in the order in which they are applied."""
    return tuple(sorted(transforms, key=lambda t: KINDS.index(t.kind)))


def says_how_it_is_stored(transform: Transform) -> bool:
    """Whether it does so itself: others store what they make as it is."""
    return type(transform).stored is not Transform.stored


def transformed(
    chain: tuple[Transform, ...],
    kept: Tensor,
    part: Callable[[str], Tensor],
    as_kept: Callable[[str], Tensor],
) -> Tensor:
    """What a tensor's transforms make of what is kept of it.

    Args:
        chain: the transforms, in order.
        kept: what is kept of the tensor.
        part: finds what the sub-network has of another tensor.
        as_kept: finds another tensor of the same shape, with the indices that are kept of this one.
    """
    uncropped = kept.shape

    def alike(name: str, before: tuple[Transform, ...]) -> Tensor:
        other = as_kept(name)
        return transformed(before, other, part, as_kept) if other.shape == uncropped else other

    for at, transform in enumerate(chain):
        before = chain[:at] if transform.kind == "mix" else ()
        others = (alike(name, before) if name in transform.alike else part(name) for name in transform.reads)
        kept = transform(kept, *others)
    return kept
