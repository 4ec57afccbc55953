"""Which options of a choice, and which layers in few bits, are worth having on a target, by measured times.

The idea is that of SpaceEvo (Zhang et al. 2023, arXiv 2303.08308): a space whose options do not pay on a device wastes
the search on them. An option is judged by the blocks that it changes, a precision by the layers of one kind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import hypot

from ..core.candidate import Option
from .explain import LayerReport
from .lookup import LookupTable

WORTH = 0.05
"""Share of the time of what it changes that an option or a precision saves at least, to be worth having."""

FEW = 8
"""Bits of the weights of a quantised layer, at most."""


@dataclass(frozen=True)
class Saving:
    """What something saves over something else.

    Args:
        ms: how much.
        of: the time of what it changes, before.
        noise: half the 95 % interval of ``ms``.
    """

    ms: float
    of: float
    noise: float = 0.0

    @property
    def share(self) -> float:
        """Of the time of what it changes: the score."""
        return self.ms / self.of if self.of else 0.0

    @property
    def noise_share(self) -> float:
        """Half the 95 % interval of the score."""
        return self.noise / self.of if self.of else 0.0

    @property
    def pays(self) -> bool:
        """Whether it is enough, beyond noise."""
        return self.share - self.noise_share >= WORTH

    @property
    def may_pay(self) -> bool:
        """Whether it is enough, or may be as far as it was measured."""
        return self.share + self.noise_share >= WORTH


@dataclass(frozen=True)
class OptionWorth:
    """An option of a choice, the others whole, beside the next larger one that stays.

    Args:
        option: which one.
        larger: the other; None for the whole.
        savings: by precision.
    """

    option: Option
    larger: Option | None
    savings: Mapping[str, Saving]

    @property
    def is_kept(self) -> bool:
        """Whether it stays in the space: it is the whole, or may pay in some precision."""
        return self.larger is None or any(each.may_pay for each in self.savings.values())

    @property
    def is_clear(self) -> bool:
        """Whether noise leaves no doubt of that."""
        return self.larger is None or not self.is_kept or any(each.pays for each in self.savings.values())


def saving(table: LookupTable, before: Sequence[str], after: Sequence[str]) -> Saving:
    """What some blocks save over others.

    Args:
        table: with a row for each.
        before, after: keys of blocks.
    """
    gone, new = Counter(before) - Counter(after), Counter(after) - Counter(before)
    old, now = ([table.rows[key] for key in some.elements()] for some in (gone, new))
    total = sum(row.value for row in old)
    return Saving(total - sum(row.value for row in now), total, hypot(*(row.spread for row in (*old, *now))))


@dataclass(frozen=True)
class KindTimes:
    """All layers of one kind in two precisions.

    Args:
        kind: what they are, such as ``depthwise convolution``.
        layers: how many were measured, those of several networks apart.
        float_ms: their time in float32.
        ms: their time in few bits, conversions included.
    """

    kind: str
    layers: int
    float_ms: float
    ms: float

    @property
    def saving(self) -> Saving:
        """Of few bits."""
        return Saving(self.float_ms - self.ms, self.float_ms)


def kind_times(layers: Sequence[LayerReport]) -> dict[str, KindTimes]:
    """The times of each kind of layers in few bits, of those of which both are known. Of layers that stay in float32
    nothing is told: conversions stand at them that others need."""
    found: dict[str, list[LayerReport]] = {}
    for each in layers:
        if each.float_ms and each.bits <= FEW:
            found.setdefault(each.kind, []).append(each)
    return {
        kind: KindTimes(kind, len(some), sum(e.float_ms or 0.0 for e in some), sum(e.whole_ms for e in some))
        for kind, some in found.items()
    }


def bits_saving(layers: Sequence[LayerReport], paths: Sequence[str], kinds: Mapping[str, KindTimes]) -> Saving | None:
    """What few bits save in some layers of a network, each by what they save in its kind; None where none is known."""
    own = [each for each in layers if each.path in paths and each.float_ms and each.kind in kinds]
    total = sum(each.float_ms or 0.0 for each in own)
    saved = sum((each.float_ms or 0.0) * kinds[each.kind].saving.share for each in own)
    return Saving(saved, total) if own else None
