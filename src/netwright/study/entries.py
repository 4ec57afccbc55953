"""What the entries of a journal are: their shapes, checked where they are read.

Each function raises ValueError, or a :class:`NetwrightError`, that says what is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from ..core.candidate import Candidate
from ..core.errors import ShapeError
from ..core.limits import Limit
from ..core.metric import Direction, Metric
from ..core.record import Record
from ..core.shape import Count, Rule, expect, told
from ..core.space import Choice
from ..core.text import is_unicode

KINDS = ("study", "limits", "ask", "claim", "attempt", "record", "retry")


def _is_text(text: str) -> bool:
    return bool(text) and is_unicode(text)


Name = Annotated[str, Rule("a text that can be written", _is_text)]

STUDY = {
    "objectives": list[tuple[Name, str, Direction, bool]],
    "choices": dict[str, list[Any]] | None,
    "target": dict[str, Any] | None,
}
LIMITS = {"limits": list[tuple[Name, Literal["<=", ">=", "<", ">"], float, str]]}
ASK = {"candidates": list[dict[str, Any]], "provenance": dict[str, Any]}
CLAIM = {"candidate": dict[str, Any], "by": Name}
ATTEMPT = {"candidate": dict[str, Any], "number": Count}
RETRY = {"candidates": list[dict[str, Any]]}
PROVENANCE = {
    "time": float | None,
    "seconds": float | None,
    "device_seconds": float | None,
    "target": dict[str, Any] | None,
}
"""What others read of it."""


def objectives_of(header: Mapping[str, Any]) -> tuple[Metric, ...]:
    """What a study asks for, as its first entry says; the rest of that is checked too."""
    found = expect(header, STUDY)
    objectives = tuple(Metric(*entry) for entry in found["objectives"])
    if not objectives or len({m.name for m in objectives}) < len(objectives):
        raise ShapeError("must be one or more, of different names", (".objectives",))
    for name, options in (found["choices"] or {}).items():
        Choice(name, tuple(map(_option, options)))
    return objectives


def limits_of(body: Mapping[str, Any]) -> tuple[Limit, ...]:
    """The limits that an entry sets."""
    return tuple(Limit(*entry) for entry in expect(body, LIMITS)["limits"])


def choices_of(choices: Mapping[str, Any]) -> dict[str, Any]:
    """The choices of a candidate, with tuples for lists."""
    found = {name: _option(option) for name, option in choices.items()}
    if not _is_text(Candidate.of_options(found).key):
        raise ShapeError("must be of texts that can be written", (".candidate",))
    return found


def _option(option: Any) -> Any:
    if isinstance(option, list | tuple):
        return tuple(map(_option, option))
    if isinstance(option, Mapping):
        raise ShapeError(f"must have options that are numbers, texts or lists of them, not {told(option)}")
    return option


def check_record(record: Record) -> None:
    """Check what :meth:`netwright.Record.from_json` does not look at."""
    expect(record.provenance, PROVENANCE)
    for name, measurement in record.measurements.items():
        expect(name + measurement.unit, Name)
