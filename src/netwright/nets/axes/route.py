"""Route: which of its parts a module runs, one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ...core.candidate import Option
from ...core.errors import NetError
from ..cut import CutBuilder, ModuleIndex
from .base import Axis, Region


@dataclass(frozen=True)
class Route(Axis):
    """The parts of an option run one after the other, and no sub-network holds another.

    Args:
        name: the name of the choice.
        module: the path of a module that runs the parts that its attribute ``route`` names, paths in it, each on what
            the one before gave; "" for the network itself.
        routes: the parts of each option, by its name; the last is what ``route`` is now.
    """

    name: str
    module: str
    routes: tuple[tuple[str, tuple[str, ...]], ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "routes", tuple((option, tuple(parts)) for option, parts in self.routes))
        if not self.routes or not all(parts for _, parts in self.routes):
            raise NetError(f"axis {self.name!r}: it needs routes, and each at least one part")

    @property
    def options(self) -> tuple[str, ...]:  # type: ignore[override]
        """The names of the routes."""
        return tuple(option for option, _ in self.routes)

    def regions(self, index: ModuleIndex) -> Iterable[Region]:
        return []

    def affected_modules(self, index: ModuleIndex) -> set[str]:
        now = getattr(index.module(self.module), "route", None)
        if now != self.routes[-1][1]:
            raise NetError(
                f"axis {self.name!r}: {self.module or 'the network'}.route is {now!r}; the last route must be it"
            )
        for path in self._paths():
            index.module(path)
        return {self.module}

    def skipped_modules(self) -> Mapping[str, tuple[Option, ...]]:
        runs = {path: tuple(o for o, parts in self.routes if path in self._inside(parts)) for path in self._paths()}
        return {path: options for path, options in runs.items() if len(options) < len(self.routes)}

    def write(self, option: Option, builder: CutBuilder, index: ModuleIndex) -> None:
        parts = dict(self.routes)[str(option)]
        runs = set(self._inside(parts))
        for path in self._paths():
            if path not in runs:
                builder.skip(path)
        if parts != self.routes[-1][1]:
            builder.set(self.module, "route", parts)

    def _paths(self) -> list[str]:
        return list(dict.fromkeys(path for _, parts in self.routes for path in self._inside(parts)))

    def _inside(self, parts: Iterable[str]) -> list[str]:
        return [f"{self.module}.{part}" if self.module else part for part in parts]
