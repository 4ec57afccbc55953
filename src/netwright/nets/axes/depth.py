"""Depth: how many blocks of a stage run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ...core.candidate import Option
from ...core.errors import NetError
from ..cut import Anatomy, Draft, Gives
from .base import Axis, Region, check_options


@dataclass(frozen=True)
class Depth(Axis):
    """The first ``option`` blocks of a stage run; the others give on what they are given.

    Args:
        name: of the choice.
        blocks: module paths, in the order in which they run. Those that may be skipped must give what they take
            (residual blocks).
        options: numbers of blocks; the last is the whole.
        gives: what each block gives when it is skipped, for blocks that give more than their first argument; see
            :data:`netwright.nets.cut.Gives`.
    """

    name: str
    blocks: tuple[str, ...]
    options: tuple[int, ...]
    gives: tuple[Gives, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "blocks", tuple(self.blocks))
        object.__setattr__(self, "options", check_options(self.name, self.options, len(self.blocks), least=0))
        if self.gives and len(self.gives) != len(self.blocks):
            raise NetError(f"axis {self.name!r}: gives= has {len(self.gives)} entries for {len(self.blocks)} blocks")

    def regions(self, anatomy: Anatomy) -> Iterable[Region]:
        return []

    def places(self, anatomy: Anatomy) -> set[str]:
        for path in self.blocks:
            anatomy.module(path)
        return set(self.hides())

    def hides(self) -> Mapping[str, tuple[Option, ...]]:
        return {
            path: tuple(o for o in self.options if o > i) for i, path in enumerate(self.blocks) if i >= self.options[0]
        }

    def write(self, option: Option, draft: Draft, anatomy: Anatomy) -> None:
        for i in range(int(option), len(self.blocks)):  # type: ignore[arg-type]
            draft.skip(self.blocks[i], self.gives[i] if self.gives else 0)
