"""Attribute: one attribute of modules that changes what they compute and not what they hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ...core.candidate import Option
from ...core.errors import NetError
from ..cut import CutBuilder, ModuleIndex
from .base import Axis, Region


@dataclass(frozen=True)
class Attribute(Axis):
    """Modules' attributes take the option as their value.

    Args:
        name: the name of the choice.
        attributes: (module path, attribute) pairs; all take the same value.
        options: values; the last is the one that the network has.
    """

    name: str
    attributes: tuple[tuple[str, str], ...]
    options: tuple[Option, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "attributes", tuple((path, attribute) for path, attribute in self.attributes))
        object.__setattr__(self, "options", tuple(self.options))
        if not self.options or not self.attributes:
            raise NetError(
                f"axis {self.name!r}: it needs attributes, and options that end with what they hold; got none"
            )

    def affected_modules(self, index: ModuleIndex) -> set[str]:
        for path, attribute in self.attributes:
            index.module(path)
            try:
                now = index.number(path, attribute)
            except NetError:
                now = None
            if now != self.options[-1]:
                raise NetError(
                    f"axis {self.name!r}: {path}.{attribute} is {now!r}; the last option must be what it is, "
                    f"not {self.options[-1]!r}"
                )
        return {path for path, _ in self.attributes}

    def regions(self, index: ModuleIndex) -> Iterable[Region]:
        return []

    def write(self, option: Option, builder: CutBuilder, index: ModuleIndex) -> None:
        if option != self.options[-1]:
            for path, attribute in self.attributes:
                builder.set(path, attribute, option)
