"""Depth: how many blocks of a stage run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ...core.candidate import Option
from ...core.errors import NetError
from ..cut import CutBuilder, ModuleIndex
from ..stand_ins import Passthrough
from .base import Axis, Region, check_options


@dataclass(frozen=True)
class Depth(Axis):
    """The first ``option`` blocks of a stage run; the others give on what they are given.

    Args:
        name: the name of the choice.
        blocks: module paths, in the order in which they run. Those that may be skipped must give what they take
            (residual blocks).
        options: numbers of blocks; the last is the whole.
        passthrough: what each block gives when it is skipped, for blocks that give more than their first argument; see
            :data:`netwright.nets.stand_ins.Passthrough`. With ``Zeros()`` (and None for what else it gives)
            a module leaves that is no residual block itself: its result is added outside of it.
    """

    name: str
    blocks: tuple[str, ...]
    options: tuple[int, ...]
    passthrough: tuple[Passthrough, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "blocks", tuple(self.blocks))
        object.__setattr__(self, "options", check_options(self.name, self.options, len(self.blocks), least=0))
        if self.passthrough and len(self.passthrough) != len(self.blocks):
            raise NetError(
                f"axis {self.name!r}: passthrough= has {len(self.passthrough)} entries for {len(self.blocks)} blocks"
            )

    def regions(self, index: ModuleIndex) -> Iterable[Region]:
        return []

    def affected_modules(self, index: ModuleIndex) -> set[str]:
        for path in self.blocks:
            index.module(path)
        return set(self.skipped_modules())

    def skipped_modules(self) -> Mapping[str, tuple[Option, ...]]:
        return {
            path: tuple(o for o in self.options if o > i) for i, path in enumerate(self.blocks) if i >= self.options[0]
        }

    def write(self, option: Option, builder: CutBuilder, index: ModuleIndex) -> None:
        for i in range(int(option), len(self.blocks)):  # type: ignore[arg-type]
            builder.skip(self.blocks[i], self.passthrough[i] if self.passthrough else 0)
