"""What is asked of a network, and what was found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Literal

from .errors import MeasureError, SpaceError
from .units import format_value

Direction = Literal["max", "min"]

AT_BEST = "at_best"
"""The entry of a measurement's ``how`` that says that it was stopped: the best value that it may have when whole."""


MEASURED = "measured"
"""The entry that holds what was measured, where the value was moved from it to what is usual."""


CHANCE = "chance"
"""The entry that says that the value is no better than what a network has that always answers the same: that value."""


@dataclass(frozen=True)
class Metric:
    """A property of a network that can be compared.

    Args:
        name: as it stands in limits, records and tables.
        unit: the unit of its values: ``"ms"``, ``"B"``, ``"%"``, ``"mJ"`` or ``""`` for a count.
        direction: whether more (``"max"``) or less (``"min"``) is better.
        exact: computed for every proposal at no cost (and never predicted), or measured by running something.
    """

    name: str
    unit: str = ""
    direction: Direction = "min"
    exact: bool = False

    def __post_init__(self) -> None:
        if self.direction not in ("max", "min"):
            raise SpaceError(f"metric {self.name!r}: direction is 'max' or 'min', not {self.direction!r}")

    def loss(self, value: float) -> float:
        """The value with its sign turned so that less is better."""
        return -value if self.direction == "max" else value


@dataclass(frozen=True)
class Measurement:
    """A value and how far it can be trusted.

    Args:
        value: in ``unit``; a finite number. A thing that was not measured has no Measurement.
        unit: see :class:`Metric`.
        spread: half the width of the 95 % interval of the value, in ``unit``; 0 for exact values.
        n: the number of samples behind it; 1 for exact values.
        how: what else belongs to it (percentiles, wall and CPU time, the reference's drift); JSON values. ``at_best``
            says that it stands on a part of the samples, and which value it may have at best when whole; ``measured``
            is what was measured where the value is moved from it; ``chance`` is what a constant answer has where that
            is as good.
    """

    value: float
    unit: str = ""
    spread: float = 0.0
    n: int = 1
    how: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isfinite(self.value):
            raise MeasureError(f"a measurement must be a finite number, not {self.value!r}")
        clash = {"value", "unit", "spread", "n"} & set(self.how)
        if clash:
            raise MeasureError(f"how= may not hold {', '.join(sorted(clash))}: the measurement has its own")

    @property
    def whole(self) -> bool:
        """Whether it stands on all samples, not on the part of them after which it was stopped."""
        return AT_BEST not in self.how

    @property
    def at_chance(self) -> bool:
        """Whether a constant answer could be as good."""
        return CHANCE in self.how

    @property
    def as_measured(self) -> str:
        """``1.52 ms as measured`` where the value was moved from that by 2 % or more, else nothing."""
        measured = self.how.get(MEASURED, self.value)
        return (
            f"{format_value(measured, self.unit)} as measured" if abs(measured - self.value) > 0.02 * self.value else ""
        )

    def to_json(self) -> dict[str, Any]:
        """``{"value", "unit", "spread", "n"}`` and the entries of ``how`` beside them."""
        return {"value": self.value, "unit": self.unit, "spread": self.spread, "n": self.n, **self.how}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Measurement:
        """The inverse of :meth:`to_json`."""
        own = ("value", "unit", "spread", "n")
        how = {k: v for k, v in data.items() if k not in own}
        return cls(data["value"], data["unit"], data["spread"], data["n"], how)
