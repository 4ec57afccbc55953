"""Records from the text of their journal entries, of which only what everybody asks for is read at once.

What a study of a hundred thousand networks takes to open is the reading of JSON, most of which nobody looks at: the
details of measurements, and where a record comes from. The text of an entry that is written as netwright writes them is
checked to its end by a regular expression, which finds the candidate, the values and the status; the rest is read when
it is asked for; of a key that stands twice in that, which nobody writes, the last counts. Every other entry is read
whole, by :meth:`netwright.Record.from_json`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from sys import intern
from typing import Any

from ..core.candidate import Candidate
from ..core.metric import Measurement, Metric
from ..core.record import STATUSES, Record

# JSON in ASCII without blanks. Numbers are so short that they are finite.
NUMBER = r"-?+(?:0|[1-9][0-9]{0,17}+)(?:\.[0-9]{1,25}+)?+(?:e[-+]?+[0-9][0-9]?+)?+(?=[,}\]])"
WHOLE = r"(?:0|[1-9][0-9]{0,17}+)(?=,)"
PLAIN = r'"[ !#-\[\]-~]*+"'
STRING = r'"[ !#-\[\]-~]*+(?:\\(?:["\\/bfnrt]|u[0-9a-f]{4})[ !#-\[\]-~]*+)*+"'
SCALAR = rf"(?>{NUMBER}|{STRING}|true|false|null)"


def _object(value: str, key: str = STRING) -> str:
    return rf"\{{(?:{key}:{value}(?:,(?!\}})|(?=\}})))*+\}}"


VALUE = SCALAR
for _ in range(2):
    VALUE = rf"(?>{SCALAR}|\[(?:{VALUE}(?:,(?!\])|(?=\])))*+\]|{_object(VALUE)})"

DETAILS = rf'(?:,(?!"(?:value|unit|spread|n|kind|best_case|uncorrected)"){STRING}:{VALUE})*+'
"""What stands in a measurement beside its own keys."""

PROVENANCE = _object(VALUE, r'(?!"(?:time|seconds|device_seconds|seed)":[^-0-9]|"target":[^{])' + STRING)
"""Its numbers are some, and its target is a mapping."""

ASK = re.compile(
    rf'\{{"candidates":\[((?:\{{[^{{}}\[\]\\]++\}}(?:,(?!\])|(?=\])))++)\],"provenance":({_object(VALUE)})\}}'
)
CLAIM = re.compile(r'\{"candidate":\{([^{}\[\]\\]++)\},"by":"([ !#-\[\]-~]++)"\}')
ATTEMPT = re.compile(r'\{"candidate":\{([^{}\[\]\\]++)\},"number":(0|[1-9][0-9]{0,8}+)\}')
NAMES = re.compile(rf'({PLAIN}):\{{"value":')
PIECE = re.compile(rf"{PLAIN}:{SCALAR}\}}")

MOST_PIECES, MOST_LAYOUTS, MOST_NAMES = 50_000, 50, 30
"""Beyond these nothing is gained: options are many then, or no two records are alike."""


class _Layout:
    """What a record is written like that has measurements of certain metrics.

    Args:
        names: of the metrics, in quotes as they are written; all different.

    The groups of the pattern are the choices, without braces, the status, the measurements, their values, the reason
    and the provenance.
    """

    def __init__(self, names: Sequence[str]) -> None:
        measurements = ",".join(
            rf'{re.escape(name)}:\{{"value":({NUMBER}),"unit":{PLAIN},"spread":(?!-){NUMBER},"n":{WHOLE},'
            rf'"kind":(?>"exact"|"measured"|"corrected","uncorrected":{NUMBER}){DETAILS}\}}'
            for name in names
        )
        self.names = tuple(intern(name[1:-1]) for name in names)
        self.pattern = re.compile(
            r'\{"id":"[0-9a-f]{10}+","candidate":\{([^{}\[\]\\]*+)\},"status":"(ok|infeasible|failed)",'
            rf'"measurements":(\{{{measurements}\}})(?:,"reason":({STRING}))?+'
            rf'(?:,"provenance":({PROVENANCE}))?+\}}'
        )


NEVER = _Layout(())
NEVER.pattern = re.compile("(?!)")


Parts = tuple[tuple[str, ...], _Layout]


class RecordReader:
    """Reads records; those of one study are written alike, and have their choices in common."""

    def __init__(self) -> None:
        self._pieces = _Pieces()
        self._layouts: dict[tuple[str, ...], _Layout] = {}
        self._last = _Layout(())

    def asked(self, text: str) -> tuple[list[str], str] | None:
        """The choices of the candidates that an entry asks for, and its provenance, as they are written; None where it
        is to be read whole."""
        found = ASK.fullmatch(text)
        return (found[1][1:-1].split("},{"), found[2]) if found else None

    def claimed(self, text: str) -> tuple[str, str] | None:
        """The choices of the candidate that an entry claims, as they are written, and for whom; None where it is to be
        read whole."""
        found = CLAIM.fullmatch(text)
        return (found[1], found[2]) if found else None

    def attempted(self, text: str) -> tuple[str, int] | None:
        """The same of an attempt, and for which time it is."""
        found = ATTEMPT.fullmatch(text)
        return (found[1], int(found[2])) if found else None

    def choices(self, text: str) -> dict[str, Any] | None:
        """The choices of a candidate from their text, or None where it is to be read whole."""
        pieces = text.split(",")
        try:
            found = dict(map(self._pieces.__getitem__, pieces))
        except ValueError:
            return None
        return found if len(found) == len(pieces) else None

    def parts(self, text: str) -> Parts | None:
        """A record's choices as :meth:`choices` takes them, and what :meth:`record` makes it of; None where it is to be
        read whole."""
        layout = self._last
        if (found := layout.pattern.fullmatch(text)) is None:
            layout = self._layout(tuple(NAMES.findall(text)))
            if (found := layout.pattern.fullmatch(text)) is None:
                return None
            self._last = layout
        return found.groups(), layout

    def record(self, parts: Parts, candidate: Candidate, objectives: tuple[Metric, ...]) -> Record:
        """The record of a candidate from its parts."""
        (_, status, measurements, *numbers, reason, about), layout = parts
        values = [float(each) if "." in each or "e" in each else int(each) for each in numbers]
        return Record.written(
            candidate,
            _Measurements(measurements) if numbers else {},
            STATUSES[status],
            json.loads(reason) if reason else "",
            objectives,
            _Written(about) if about else {},
            dict(zip(layout.names, values, strict=True)),
        )

    def _layout(self, names: tuple[str, ...]) -> _Layout:
        if names not in self._layouts:
            if len(self._layouts) >= MOST_LAYOUTS or len(names) > MOST_NAMES or len({*names}) < len(names):
                return NEVER
            self._layouts[names] = _Layout(names)
        return self._layouts[names]


class _Pieces(dict[str, tuple[str, Any]]):
    """The choices of candidates as texts such as ``"depth":3``, each of them read once.

    Raises ValueError for what is no scalar.
    """

    def __missing__(self, text: str) -> tuple[str, Any]:
        if PIECE.fullmatch(text + "}") is None:
            raise ValueError(text)
        if len(self) >= MOST_PIECES:
            self.clear()
        self[text] = json.loads(f"{{{text}}}").popitem()
        return self[text]


class _Written(Mapping[str, Any]):
    """A mapping that is read from its text when it is asked for."""

    __slots__ = ("_found",)

    def __init__(self, text: str) -> None:
        self._found: str | dict[str, Any] = text

    @property
    def found(self) -> dict[str, Any]:
        """What the text says."""
        if isinstance(self._found, str):
            self._found = self.read(self._found)
        return self._found

    def read(self, text: str) -> dict[str, Any]:
        """What a text says."""
        found: dict[str, Any] = json.loads(text)
        return found

    def __getitem__(self, name: str) -> Any:
        return self.found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)

    def __repr__(self) -> str:
        return repr(self.found)


class _Measurements(_Written):
    """Measurements by metric name."""

    __slots__ = ()

    def read(self, text: str) -> dict[str, Any]:
        return {name: Measurement.from_json(found) for name, found in json.loads(text).items()}
