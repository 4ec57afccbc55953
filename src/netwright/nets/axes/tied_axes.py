"""TiedAxes: one choice that decides several axes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ...core.candidate import Option
from ...core.errors import NetError
from ..cut import CutBuilder, ModuleIndex
from .base import Axis, Region


@dataclass(frozen=True)
class TiedAxes(Axis):
    """Several axes with one choice: the squeeze layer that follows the expansion, one size for all blocks.

    Args:
        name: the name of the choice.
        options: the options of the choice; the last is the whole.
        axes: each axis with the option that it takes for each of ``options``. Their own names are not used.
    """

    name: str
    options: tuple[Option, ...]
    axes: tuple[tuple[Axis, tuple[Option, ...]], ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", tuple(self.options))
        object.__setattr__(self, "axes", tuple((axis, tuple(taken)) for axis, taken in self.axes))
        if not self.options or not self.axes:
            raise NetError(f"axis {self.name!r} needs axes, and options for them")
        for axis, taken in self.axes:
            unknown = [o for o in taken if o not in axis.options]
            if len(taken) != len(self.options) or unknown or taken[-1] != axis.options[-1]:
                raise NetError(
                    f"axis {self.name!r}: {axis.name} takes one of its options {list(axis.options)} for each of "
                    f"{list(self.options)}, the last for the last; got {list(taken)}"
                )
            if axis.depends_on:
                raise NetError(
                    f"axis {self.name!r}: {axis.name} depends on {axis.depends_on[0]!r}, which a tied axis cannot; "
                    "give it a choice of its own"
                )

    def members(self) -> Iterable[Axis]:
        return [part for axis, _ in self.axes for part in axis.members()]

    def keeping(self, options: Sequence[Option]) -> TiedAxes:
        at = [self.options.index(option) for option in options]
        return replace(
            self, options=tuple(options), axes=tuple((axis, tuple(taken[i] for i in at)) for axis, taken in self.axes)
        )

    def regions(self, index: ModuleIndex) -> Iterable[Region]:
        return [region for axis, _ in self.axes for region in axis.regions(index)]

    def affected_modules(self, index: ModuleIndex) -> set[str]:
        return {place for axis, _ in self.axes for place in axis.affected_modules(index)}

    def skipped_modules(self) -> Mapping[str, tuple[Option, ...]]:
        return {
            path: tuple(mine for mine, its in zip(self.options, taken, strict=True) if its in runs)
            for axis, taken in self.axes
            for path, runs in axis.skipped_modules().items()
        }

    def write(self, option: Option, builder: CutBuilder, index: ModuleIndex) -> None:
        at = self.options.index(option)
        for axis, taken in self.axes:
            axis.write(taken[at], builder, index)
