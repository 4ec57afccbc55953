"""OneOf: which module of a menu runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from ...core.candidate import Option
from ...core.errors import NetError
from ..cut import CutBuilder, ModuleIndex
from ..paths import join
from .base import Axis, Region


@dataclass(frozen=True)
class OneOf(Axis):
    """One module of a menu (:func:`netwright.oneof`) runs, and a sub-network holds no other of them.

    What lies in an option alone has a meaning only where that option is chosen.

    Args:
        name: the name of the choice.
        menu: path of the menu.
        options: the names of the menu's options, in its order; the last is the whole.
    """

    name: str
    menu: str
    options: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", tuple(self.options))

    @classmethod
    def of(cls, net: nn.Module, menu: str, name: str = "") -> OneOf:
        """The choice of a menu of ``net``, named after it if not otherwise."""
        held = ModuleIndex(net).menu(menu)
        return cls(name or (f"{menu}.option" if menu else "option"), menu, held.options)

    def regions(self, index: ModuleIndex) -> Iterable[Region]:
        return []

    def affected_modules(self, index: ModuleIndex) -> set[str]:
        menu = index.menu(self.menu)
        if self.options != menu.options:
            raise NetError(
                f"axis {self.name!r}: its options are those of the menu at {self.menu}, {list(menu.options)}, in that "
                f"order; got {list(self.options)}"
            )
        return {self.menu}

    def keeping(self, options: Sequence[Option]) -> OneOf:
        raise NetError(f"axis {self.name!r}: its options are those of the menu at {self.menu}: build a smaller menu")

    def skipped_modules(self) -> Mapping[str, tuple[Option, ...]]:
        return {join(self.menu, option): (option,) for option in self.options}

    def write(self, option: Option, builder: CutBuilder, index: ModuleIndex) -> None:
        builder.choose(self.menu, str(option))
