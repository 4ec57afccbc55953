"""One candidate and all that is known of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from sys import intern
from typing import Any, Literal, get_args

from .candidate import Candidate
from .limits import Limit, broken, explain_values
from .metric import Measurement, Metric
from .shape import expect

Status = Literal["ok", "infeasible", "failed"]
STATUSES: dict[Any, Status] = {status: status for status in get_args(Status)}

_JSON = {
    "candidate": dict[str, Any],
    "measurements": dict[str, Measurement],
    "status": Status,
    "reason": str | None,
    "provenance": dict[str, Any] | None,
}

_ALL: Mapping[str, float] = {}
"""What is not known whole of records of which all is: one for all."""


@dataclass(frozen=True, slots=True)
class Record:
    """A candidate, what was measured of it, and whether it may be used.

    Args:
        candidate: the network.
        measurements: by metric name; what was not measured is absent.
        status: ``ok``; ``infeasible`` (breaks a limit); ``failed`` (could not be measured).
        reason: why it is not ``ok``.
        objectives: what the study asks for, so that a list of records knows its own front.
        provenance: strategy, seed, target, time, ...; JSON values.
    """

    candidate: Candidate
    measurements: Mapping[str, Measurement] = field(default_factory=dict)
    status: Status = "ok"
    reason: str = ""
    objectives: tuple[Metric, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    _values: dict[str, float] | None = field(default=None, init=False, repr=False, compare=False)
    _best_cases: Mapping[str, float] | None = field(default=None, init=False, repr=False, compare=False)

    @classmethod
    def written(
        cls,
        candidate: Candidate,
        measurements: Mapping[str, Measurement],
        status: Status,
        reason: str,
        objectives: tuple[Metric, ...],
        provenance: Mapping[str, Any],
        values: dict[str, float],
    ) -> Record:
        """A record whose values are known, and were all measured whole, before its measurements are read."""
        record = cls.__new__(cls)
        _set_candidate(record, candidate)  # one after the other, in a third of the time that a frozen dataclass takes
        _set_measurements(record, measurements)
        _set_status(record, status)
        _set_reason(record, reason)
        _set_objectives(record, objectives)
        _set_provenance(record, provenance)
        _set_values(record, values)
        _set_best_cases(record, _ALL)
        return record

    @property
    def id(self) -> str:
        """Ten hexadecimal digits; see :attr:`Candidate.id`."""
        return self.candidate.id

    @property
    def values(self) -> dict[str, float]:
        """Metric name to value, for what was measured."""
        if self._values is None:
            _set_values(self, {name: measurement.value for name, measurement in self.measurements.items()})
            assert self._values is not None
        return self._values

    @property
    def best_cases(self) -> Mapping[str, float]:
        """What is not known whole: metric name to the best value that it may have."""
        if self._best_cases is None:
            open_ = {name: m.best_case for name, m in self.measurements.items() if m.best_case is not None}
            _set_best_cases(self, open_ or _ALL)
            assert self._best_cases is not None
        return self._best_cases

    def to_json(self) -> dict[str, Any]:
        """``{"id", "candidate", "status", "measurements"}`` and, where they say something, reason and provenance."""
        data: dict[str, Any] = {
            "id": self.id,
            "candidate": dict(self.candidate),
            "status": self.status,
            "measurements": {name: m.to_json() for name, m in self.measurements.items()},
        }
        if self.reason:
            data["reason"] = self.reason
        if self.provenance:
            data["provenance"] = dict(self.provenance)
        return data

    @classmethod
    def from_json(
        cls,
        data: Mapping[str, Any],
        objectives: tuple[Metric, ...] = (),
        candidate: Callable[[Mapping[str, Any]], Candidate] = Candidate,
    ) -> Record:
        """The inverse of :meth:`to_json`; ``candidate`` makes the candidate (``space.candidate`` checks it too).

        Raises :class:`ShapeError` for what no record writes.
        """
        found = expect(data, _JSON)
        return cls(
            candidate=candidate(found["candidate"]),
            measurements={intern(name): m for name, m in found["measurements"].items()},
            status=STATUSES[found["status"]],
            reason=found["reason"] or "",
            objectives=objectives,
            provenance={intern(name): value for name, value in (found["provenance"] or {}).items()},
        )

    def judged(self, limits: Sequence[Limit]) -> Record:
        """The same record with the status that these limits give it; a failed record stays failed.

        A limit on what was not measured, or on what was measured in part only, is not known to be kept: the record is
        infeasible until it is.
        """
        if self.status == "failed":
            return self
        if not limits:
            return self._with("ok", "")
        known: Mapping[str, float] = self.values
        if open_ := self.best_cases:
            known = {name: value for name, value in known.items() if name not in open_}
        if broken(limits, known):
            return self._with("infeasible", explain_values(limits, known))
        for limit in limits:
            if limit.metric not in known:
                how = "measured in part only" if limit.metric in self.values else "not measured"
                return self._with("infeasible", f"{limit.metric} was {how}: {limit}")
        return self._with("ok", "")

    def _with(self, status: Status, reason: str) -> Record:
        """The same record, judged so."""
        if (self.status, self.reason) == (status, reason):
            return self
        record = replace(self, status=status, reason=reason)
        _set_values(record, self.values)
        _set_best_cases(record, self.best_cases)
        return record


(
    _set_candidate,
    _set_measurements,
    _set_status,
    _set_reason,
    _set_objectives,
    _set_provenance,
    _set_values,
    _set_best_cases,
) = (vars(Record)[each.name].__set__ for each in fields(Record))
