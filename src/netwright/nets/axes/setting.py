"""Setting: an attribute of modules that changes what they compute and not what they hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ...core.candidate import Option
from ...core.errors import NetError
from ..cut import Anatomy, Draft
from .base import Axis, Region


@dataclass(frozen=True)
class Setting(Axis):
    """Modules' attributes take the option as their value.

    Args:
        name: of the choice.
        places_: (module path, attribute) pairs; all take the same value.
        options: values; the last is the one that the network has.
    """

    name: str
    places_: tuple[tuple[str, str], ...]
    options: tuple[Option, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "places_", tuple((path, attribute) for path, attribute in self.places_))
        object.__setattr__(self, "options", tuple(self.options))
        if not self.options or not self.places_:
            raise NetError(f"axis {self.name!r}: it needs places, and options that end with what they hold; got none")

    def places(self, anatomy: Anatomy) -> set[str]:
        for path, attribute in self.places_:
            anatomy.module(path)
            try:
                now = anatomy.number(path, attribute)
            except NetError:
                now = None
            if now != self.options[-1]:
                raise NetError(
                    f"axis {self.name!r}: {path}.{attribute} is {now!r}; the last option must be what it is, "
                    f"not {self.options[-1]!r}"
                )
        return {path for path, _ in self.places_}

    def regions(self, anatomy: Anatomy) -> Iterable[Region]:
        return []

    def write(self, option: Option, draft: Draft, anatomy: Anatomy) -> None:
        if option != self.options[-1]:
            for path, attribute in self.places_:
                draft.set(path, attribute, option)
