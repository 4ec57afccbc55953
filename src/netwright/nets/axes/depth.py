"""Depth: how many blocks of a stage run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ...core.candidate import Option
from ..cut import Anatomy, Draft
from .base import Axis, Region, check_options


@dataclass(frozen=True)
class Depth(Axis):
    """The first ``option`` blocks of a stage run; the others are the identity.

    Args:
        name: of the choice.
        blocks: module paths, in the order in which they run. Those that may be skipped must give what they take
            (residual blocks).
        options: numbers of blocks; the last is the whole.
    """

    name: str
    blocks: tuple[str, ...]
    options: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "blocks", tuple(self.blocks))
        object.__setattr__(self, "options", check_options(self.name, self.options, len(self.blocks), least=0))

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
        for path in self.blocks[int(option) :]:  # type: ignore[arg-type]
            draft.skip(path)
