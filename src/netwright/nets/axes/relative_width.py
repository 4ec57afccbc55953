"""RelativeWidth: a width that follows another one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ...core.candidate import Option
from ...core.errors import NetError
from ..cut import CutBuilder, ModuleIndex
from .base import Axis, Region
from .width import Width


@dataclass(frozen=True)
class RelativeWidth(Axis):
    """The number of channels of a tied group as a share of what another axis leaves, such as a block's inner width.

    Once-for-all's ResNet50 has it: half the output channels and a quarter of them within are an eighth, which is what
    neither choice says alone.

    Args:
        name: the name of the choice.
        options: shares; the last is the whole.
        of: the other axis; what it writes, it writes itself.
        group: the channels. Its name and options are not used but for the last, the whole.
        channels: (own option, the other axis's) to the number of channels that stay.
    """

    name: str
    options: tuple[Option, ...]
    of: Axis
    group: Width
    channels: Mapping[tuple[Option, Option], int]

    @classmethod
    def tabulate(
        cls, name: str, options: Iterable[float], of: Axis, group: Width, channels: Callable[[float, float], int]
    ) -> RelativeWidth:
        """The axis whose number of channels a function knows, of the share and the other axis's option."""
        options = tuple(options)
        table = {(share, whole): channels(share, whole) for share in options for whole in of.options}  # type: ignore[arg-type]
        return cls(name, options, of, group, table)  # type: ignore[arg-type]

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", tuple(self.options))
        for its in self.of.options:
            counts = [self.channels.get((mine, its), 0) for mine in self.options]
            whole = its == self.of.options[-1]
            legal = counts[0] >= 1 and counts == sorted(set(counts)) and counts[-1] <= self.group.channels
            if not legal or (whole and counts[-1] < self.group.channels):
                raise NetError(
                    f"axis {self.name!r}: its options {list(self.options)} must leave ascending numbers of channels "
                    f"{'that end with' if whole else 'up to'} {self.group.channels} where {self.of.name!r} is {its}; "
                    f"got {counts}"
                )

    @property
    def depends_on(self) -> tuple[str, ...]:
        return (self.of.name,)

    def members(self) -> Iterable[Axis]:
        return (self.group,)

    def regions(self, index: ModuleIndex) -> Iterable[Region]:
        return self.group.regions(index)

    def write(self, option: Option, builder: CutBuilder, index: ModuleIndex) -> None:
        self.group.write(self.channels[option], builder, index)  # type: ignore[index]
