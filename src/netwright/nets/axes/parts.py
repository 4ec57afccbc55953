"""Parts: how many of the attentions, or of the feed-forward networks, run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ...core.candidate import Option
from ...core.errors import NetError
from ..cut import CutBuilder, ModuleIndex
from ..stand_ins import Instead
from .base import Axis, Region, check_options


@dataclass(frozen=True)
class Part:
    """A part of a network that is left out as one, so that what it is added to goes on as it is.

    Args:
        name: what it is called: the path of the module that holds most of it.
        modules: its modules, in the order in which they run, each with what stands in for it: those that run for the
            part alone (its normalisation) are left out too.
    """

    name: str
    modules: tuple[tuple[str, Instead], ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "modules", tuple(self.modules))
        if not self.modules:
            raise NetError(
                f"part {self.name!r} has no modules; name those that are left out, and what stands in for each"
            )


@dataclass(frozen=True)
class Parts(Axis):
    """The first ``option`` parts run, the others are left out (He et al. 2024, "What matters in Transformers? Not all
    attention is needed": attention and feed-forward networks are dropped one by one, the least important
    first).

    ``wrap(axes=["parts"])`` finds them, in the order in which they run, and :func:`netwright.sort_parts` brings them
    into the order of their importance.

    Args:
        name: the name of the choice.
        parts: the parts, the one to keep longest first.
        options: numbers of parts; the last is the whole.
    """

    name: str
    parts: tuple[Part, ...]
    options: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(self.parts))
        object.__setattr__(self, "options", check_options(self.name, self.options, len(self.parts), least=0))

    def regions(self, index: ModuleIndex) -> Iterable[Region]:
        return []

    def affected_modules(self, index: ModuleIndex) -> set[str]:
        for part in self.parts:
            for path, _ in part.modules:
                index.module(path)
        return set(self.skipped_modules())

    def skipped_modules(self) -> Mapping[str, tuple[Option, ...]]:
        return {
            path: tuple(o for o in self.options if o > i)
            for i, part in enumerate(self.parts)
            if i >= self.options[0]
            for path, _ in part.modules
        }

    def write(self, option: Option, builder: CutBuilder, index: ModuleIndex) -> None:
        for part in self.parts[int(option) :]:  # type: ignore[arg-type]
            for path, instead in part.modules:
                builder.replace(path, instead)
