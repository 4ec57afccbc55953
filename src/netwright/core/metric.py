"""What is asked of a network, and what was found."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from sys import intern
from typing import Any, Literal, get_args

import numpy as np

from .errors import MeasureError, ShapeError, SpaceError, did_you_mean
from .shape import Count, NotNegative, expect, told
from .units import format_value

Direction = Literal["max", "min"]

Kind = Literal["exact", "measured", "partial", "predicted", "corrected"]

_KINDS: dict[Any, Kind] = {kind: kind for kind in get_args(Kind)}

_OWN = {"value", "unit", "spread", "n", "kind", "best_case", "uncorrected"}
"""The keys of a measurement in JSON beside its details."""

CHANCE = "chance"
"""The entry of the details that says that the value is no better than what a network has that always answers the same:
that value."""

PRECISION = "precision"
"""The entry of the details that says of which precision a network was judged, where that is not the target's."""


WRITTEN = {
    "macs": "MACs", "mae": "MAE", "rmse": "RMSE", "r2": "R²", "f1": "F1", "miou": "mIoU", "map": "mAP", "bleu": "BLEU",
    "top5": "top-5 accuracy",
}  # fmt: skip
"""Words of metrics' names that people write in another way."""


def label(name: str) -> str:
    """A metric's name as a person reads it."""
    return " ".join(WRITTEN.get(word, word) for word in name.split("_"))


_MOST = sys.float_info.max
_NUMBERS = (float, int)

_PARTS: dict[str, Any] = {
    "unit": str, "ci95": NotNegative, "n": Count, "kind": str, "details": Mapping, "best_case": float | None,
    "uncorrected": float | None,
}  # fmt: skip
"""What the parts of a measurement are, beside its value."""

_JSON: dict[str, Any] = {"value": float, "unit": str, "spread": NotNegative, "n": Count, "kind": str | None}

_NONE: Mapping[str, Any] = {}
"""The details of those who have none: one for all that are read."""


@dataclass(frozen=True)
class Metric:
    """A property of a network that can be compared.

    Args:
        name: as it stands in limits, records and tables.
        unit: the unit of its values: ``"ms"``, ``"B"``, ``"%"``, ``"mJ"`` or ``""`` for a count.
        direction: whether more (``"max"``) or less (``"min"``) is better.
        exact: computed for every proposal at no cost (and never predicted), or measured by running something.
        superlative: what the network is called that is best in it, such as ``"fastest"``.
    """

    name: str
    unit: str = ""
    direction: Direction = "min"
    exact: bool = False
    superlative: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise SpaceError(f"a metric needs a name (a non-empty string), not {self.name!r}")
        if self.unit in ("max", "min"):
            raise SpaceError(f"metric {self.name!r}: {self.unit!r} is no unit; write direction={self.unit!r}")
        if self.direction not in ("max", "min"):
            raise SpaceError(f"metric {self.name!r}: direction is 'max' or 'min', not {self.direction!r}")

    @property
    def best(self) -> str:
        """What the network is called that is best in it: ``"fastest"``, ``"lowest MAE"``."""
        highest = "highest" if self.direction == "max" else "lowest"
        return self.superlative or f"{highest} {label(self.name)}"

    def loss(self, value: float) -> float:
        """The value with its sign turned so that less is better."""
        return -value if self.direction == "max" else value


@dataclass(frozen=True, slots=True)
class Measurement:
    """A value, how far it can be trusted, and what it is.

    Args:
        value: in ``unit``; a finite number. A thing that was not measured has no Measurement.
        unit: see :class:`Metric`.
        ci95: half the width of the 95 % interval of the value, in ``unit``; 0 for exact values.
        n: the number of samples behind it; 1 for exact values.
        kind: ``exact`` (computed); ``measured``; ``partial`` (measured on the part of the samples after which it was
            stopped); ``predicted`` (from other networks' measurements); ``corrected`` (measured, and moved to what is
            usual on the machine).
        details: what else belongs to it (percentiles, wall and CPU time, the reference's drift, ``chance`` where a
            constant answer is as good); JSON values.
        best_case: the best value that it may have once it is measured whole; of ``partial`` ones, and of ``predicted``
            ones that stand for a measurement which can still be taken.
        uncorrected: what was measured; of ``corrected`` ones.
    """

    value: float
    unit: str = ""
    ci95: float = 0.0
    n: int = 1
    kind: Kind = "measured"
    details: Mapping[str, Any] = field(default_factory=dict)
    best_case: float | None = None
    uncorrected: float | None = None

    def __post_init__(self) -> None:
        value, ci95, n = self.value, self.ci95, self.n
        if not (
            (type(value) in _NUMBERS and -_MOST <= value <= _MOST and type(ci95) in _NUMBERS and 0 <= ci95 <= _MOST)
            and (type(n) is int and 0 <= n < 1 << 63 and type(self.unit) is str and type(self.details) is dict)
            and (self.best_case is None and self.uncorrected is None and type(self.kind) is str)
        ):  # at a study's many measurements, to look at each part in words would cost more than all else
            self._check_types()
        if self.kind not in _KINDS:
            raise MeasureError(f"a measurement cannot be {told(self.kind)}; {did_you_mean(self.kind, get_args(Kind))}")
        if self.kind == "partial" and self.best_case is None:
            raise MeasureError(
                "a partial measurement needs best_case=, the best value that it may have when it is whole"
            )
        if self.kind not in ("partial", "predicted") and self.best_case is not None:
            raise MeasureError(f"best_case= belongs to partial and predicted measurements, not to {self.kind} ones")
        if (self.kind == "corrected") != (self.uncorrected is not None):
            raise MeasureError("uncorrected= belongs to corrected measurements, which need it, and to no others")
        if self.details and (clash := _OWN & set(self.details)):
            raise MeasureError(f"details= may not hold {', '.join(sorted(clash))}: the measurement has its own")

    def _check_types(self) -> None:
        """Raise :class:`MeasureError` where a part is not what it must be."""
        for name in ("value", "ci95", "n", "best_case", "uncorrected"):
            if isinstance(given := getattr(self, name), np.generic):  # JSON has no numbers of NumPy's
                object.__setattr__(self, name, given.item())
        try:
            expect(self.value, float)
        except ShapeError:
            raise MeasureError(f"a measurement must be a finite number, not {told(self.value)}") from None
        try:
            expect({name: getattr(self, name) for name in _PARTS}, _PARTS)
        except ShapeError as error:
            raise MeasureError(f"a measurement's {error}") from None

    @property
    def is_complete(self) -> bool:
        """Whether it stands: it is neither a part nor a prediction in place of a measurement that can be taken."""
        return self.best_case is None

    @property
    def at_chance(self) -> bool:
        """Whether a constant answer could be as good."""
        return CHANCE in self.details

    @property
    def as_measured(self) -> str:
        """``1.52 ms as measured`` where the value was moved from that by 2 % or more, else nothing."""
        if self.uncorrected is None or abs(self.uncorrected - self.value) <= 0.02 * self.value:
            return ""
        return f"{format_value(self.uncorrected, self.unit)} as measured"

    def to_json(self) -> dict[str, Any]:
        """``{"value", "unit", "spread", "n", "kind"}``, where it has them ``best_case`` and ``uncorrected``, and the
        entries of ``details`` beside them. ``spread`` is :attr:`ci95`."""
        data = {"value": self.value, "unit": self.unit, "spread": self.ci95, "n": self.n, "kind": self.kind}
        ends = {"best_case": self.best_case, "uncorrected": self.uncorrected}
        return {**data, **{name: end for name, end in ends.items() if end is not None}, **self.details}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Measurement:
        """The inverse of :meth:`to_json`; what does not say what it is was measured.

        Raises :class:`ShapeError` or :class:`MeasureError` for what is none.
        """
        try:
            details = {intern(k): v for k, v in data.items() if k not in _OWN} or _NONE
            kind, ends = data.get("kind", "measured"), (data.get("best_case"), data.get("uncorrected"))
            return cls(
                data["value"], intern(data["unit"]), data["spread"], data["n"], _KINDS.get(kind, kind), details, *ends
            )
        except (AttributeError, LookupError, TypeError):
            expect(data, _JSON)  # says what is wrong; to look at each beforehand would cost as much as to read it
            raise
