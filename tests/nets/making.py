"""Axes that make tensors, one of each kind, small enough to read; what each computes is written anew in the tests."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from netwright.nets.axes import Axis
from netwright.nets.axes.base import Region
from netwright.nets.cut import CutBuilder, ModuleIndex
from netwright.nets.transforms import Stored, Transform


@dataclass(frozen=True)
class Mixed(Transform):
    """A share of another set of weights."""

    kind = "mix"
    share: float
    reads: tuple[str, ...] = ()
    alike: tuple[str, ...] = ()

    def __call__(self, kept: Tensor, *others: Tensor) -> Tensor:
        return (1 - self.share) * kept + self.share * others[0]


@dataclass(frozen=True)
class Masked(Transform):
    """Zero where a score is below zero; positions take a bit for each element."""

    kind = "mask"
    reads: tuple[str, ...] = ()
    alike: tuple[str, ...] = ()

    def stored(self, before: Stored) -> Stored:
        return replace(before, more_bytes=before.more_bytes + -(-before.numbers // 8))

    def __call__(self, kept: Tensor, *others: Tensor) -> Tensor:
        return kept * (others[0] >= 0)


@dataclass(frozen=True)
class LowRank(Transform):
    """The best approximation of a rank, stored as two factors."""

    kind = "factorise"
    rank: int

    def stored(self, before: Stored) -> Stored:
        out, *rest = before.shape
        return replace(before, numbers=self.rank * (out + torch.Size(rest).numel()))

    def __call__(self, kept: Tensor, *others: Tensor) -> Tensor:
        u, s, v = torch.linalg.svd(kept.flatten(1), full_matrices=False)
        return ((u[:, : self.rank] * s[: self.rank]) @ v[: self.rank]).reshape(kept.shape)


@dataclass(frozen=True)
class Rounded(Transform):
    """A number of bits, with a scale for each row; gradients pass straight through. A run multiplies by the scales."""

    kind = "round"
    bits: int

    def stored(self, before: Stored) -> Stored:
        more, numbers = before.more_bytes + 4 * before.shape[0], before.numbers
        return replace(before, bits=self.bits, more_bytes=more, macs=before.macs + numbers)

    def __call__(self, kept: Tensor, *others: Tensor) -> Tensor:
        step = kept.detach().abs().amax(tuple(range(1, kept.dim())), keepdim=True) / (2 ** (self.bits - 1) - 1)
        return kept + ((kept / step).round() * step - kept).detach()


@dataclass(frozen=True)
class Making(Axis):
    """A tensor is made by a transform for every option but the last."""

    name: str
    tensor: str
    transforms: tuple[Transform, ...]
    auxiliary: tuple[str, ...] = ()

    @property
    def options(self) -> tuple[Any, ...]:  # type: ignore[override]
        return tuple(range(len(self.transforms) + 1))

    def regions(self, index: ModuleIndex) -> Iterable[Region]:
        return []

    def affected_modules(self, index: ModuleIndex) -> set[str]:
        return set(index.owners[self.tensor])

    def write(self, option: Any, builder: CutBuilder, index: ModuleIndex) -> None:
        for name in self.auxiliary:
            builder.auxiliary(name)
        if option < len(self.transforms):
            builder.transform(self.tensor, self.transforms[option])
