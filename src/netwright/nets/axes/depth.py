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
    """``option`` blocks of a stage run, the first ones or those first in ``order``; the others give on what they are
    given.

    Args:
        name: the name of the choice.
        blocks: module paths, in the order in which they run. Those that may be skipped must give what they take
            (residual blocks).
        options: numbers of blocks; the last is the whole.
        passthrough: what each block gives when it is skipped, for blocks that give more than their first argument; see
            :data:`netwright.nets.stand_ins.Passthrough`. With ``Zeros()`` (and None for what else it gives)
            a module leaves that is no residual block itself: its result is added outside of it.
        order: the blocks with the one to keep longest first, such as :func:`netwright.sort_blocks` finds; by default
            as they run.
    """

    name: str
    blocks: tuple[str, ...]
    options: tuple[int, ...]
    passthrough: tuple[Passthrough, ...] = ()
    order: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "blocks", tuple(self.blocks))
        object.__setattr__(self, "options", check_options(self.name, self.options, len(self.blocks), least=0))
        if self.passthrough and len(self.passthrough) != len(self.blocks):
            raise NetError(
                f"axis {self.name!r}: passthrough= has {len(self.passthrough)} entries for {len(self.blocks)} blocks"
            )
        object.__setattr__(self, "order", tuple(self.order) or self.blocks)
        if sorted(self.order) != sorted(self.blocks):
            raise NetError(
                f"axis {self.name!r}: order= names the blocks in another order, each once; got {list(self.order)} for "
                f"{list(self.blocks)}"
            )

    def regions(self, index: ModuleIndex) -> Iterable[Region]:
        return []

    def affected_modules(self, index: ModuleIndex) -> set[str]:
        for path in self.blocks:
            index.module(path)
        return set(self.skipped_modules())

    def skipped_modules(self) -> Mapping[str, tuple[Option, ...]]:
        return {
            path: tuple(o for o in self.options if o > i) for i, path in enumerate(self.order) if i >= self.options[0]
        }

    def write(self, option: Option, builder: CutBuilder, index: ModuleIndex) -> None:
        for path in self.order[int(option) :]:  # type: ignore[arg-type]
            builder.skip(path, self.given_on(path))

    def given_on(self, block: str) -> Passthrough:
        """What a block gives when it is skipped."""
        return self.passthrough[self.blocks.index(block)] if self.passthrough else 0
