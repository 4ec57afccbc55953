"""What an axis is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, SupportsIndex

from ...core.candidate import Option
from ...core.errors import NetError
from ..cut import CutBuilder, ModuleIndex

Region = tuple[str, int, int, int]
"""Tensor name, dimension, first index, end index."""


class Axis(ABC):
    """One way of cutting a network: a named, ordered set of options, and what each means to the tensors.

    An axis knows modules and tensors by their names in the network, so that it is plain data. The last option is
    the whole network; :class:`~netwright.SuperNet` checks it, gives the axis a choice of its own, and makes that
    choice depend on the depth axes around it.
    """

    name: str
    options: tuple[Option, ...]

    @property
    def depends_on(self) -> tuple[str, ...]:
        """Names of other axes that decide with this one: :meth:`write` gets a tuple of its own option and theirs."""
        return ()

    @abstractmethod
    def regions(self, index: ModuleIndex) -> Iterable[Region]:
        """What the axis may ever drop. Two axes whose regions overlap contradict one another."""

    @abstractmethod
    def write(self, option: Option, builder: CutBuilder, index: ModuleIndex) -> None:
        """Write the axis's part of the cut for one option."""

    def affected_modules(self, index: ModuleIndex) -> set[str]:
        """Paths of the modules that the axis changes: where all of them are skipped, it has no meaning."""
        return {owner for tensor, *_ in self.regions(index) for owner in index.owners[tensor]}

    def members(self) -> Iterable[Axis]:
        """The axes that this one is made of; itself, where it is one alone."""
        return (self,)

    def keeping(self, options: Sequence[Option]) -> Axis:
        """The same axis with some of its options, in its own order; the last, the whole, is among them.

        Raises :class:`NetError` for an axis that needs all of them.
        """
        made: Any = self
        return replace(made, options=tuple(options))  # every axis is a dataclass

    def skipped_modules(self) -> Mapping[str, tuple[Option, ...]]:
        """For an axis that skips modules: module path to the options with which that module runs."""
        return {}


def check_options(name: str, options: Iterable[int], most: int, least: int = 1) -> tuple[int, ...]:
    """Options as ascending distinct integers of which the last is the whole (``most``)."""
    given = list(options)
    if not all(isinstance(o, SupportsIndex) for o in given):
        raise NetError(f"axis {name!r}: options must be whole numbers; got {given}")
    found = tuple(sorted({int(o) for o in given}))
    if not found or found[0] < least or found[-1] != most:
        raise NetError(
            f"axis {name!r}: options must lie between {least} and {most} and hold {most}, the whole; got {list(found)}"
        )
    return found


def fractions(whole: int, shares: Iterable[float], round_to: int = 8, argument: str = "shares") -> tuple[int, ...]:
    """Widths that are shares of ``whole``, rounded up to a multiple that hardware likes; ``whole`` is among them.

    Raises :class:`NetError` that names the argument for what is no share.
    """
    shares = tuple(shares)
    for share in shares:
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
            hint = f": for {share} of the {whole} give {share} / {whole}" if type(share) is int and share > 1 else ""
            raise NetError(f"{argument}= takes shares of the whole, above 0 and up to 1, not {share!r}{hint}")
    rounded = {min(whole, max(1, -int(-whole * share // round_to)) * round_to) for share in shares}
    return tuple(sorted(rounded | {whole}))
