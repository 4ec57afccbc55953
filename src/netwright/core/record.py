"""One candidate and all that is known of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from sys import intern
from typing import Any, Literal, get_args

from .candidate import Candidate
from .limits import Limit, broken, explain
from .metric import Measurement, Metric

Status = Literal["ok", "infeasible", "failed"]
_STATUS: dict[Any, Status] = {status: status for status in get_args(Status)}


@dataclass(frozen=True)
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

    @property
    def id(self) -> str:
        """Ten hexadecimal digits; see :attr:`Candidate.id`."""
        return self.candidate.id

    @cached_property
    def values(self) -> dict[str, float]:
        """Metric name to value, for what was measured."""
        return {name: measurement.value for name, measurement in self.measurements.items()}

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
        """The inverse of :meth:`to_json`; ``candidate`` makes the candidate (``space.candidate`` checks it too)."""
        return cls(
            candidate=candidate(data["candidate"]),
            measurements={intern(name): Measurement.from_json(m) for name, m in data["measurements"].items()},
            status=_STATUS.get(data["status"], data["status"]),
            reason=data.get("reason", ""),
            objectives=objectives,
            provenance={intern(name): value for name, value in data.get("provenance", {}).items()},
        )

    def judged(self, limits: Sequence[Limit]) -> Record:
        """The same record with the status that these limits give it; a failed record stays failed.

        A limit on what was not measured, or on what was measured in part only, is not known to be kept: the record is
        infeasible until it is.
        """
        if self.status == "failed":
            return self
        if not limits:
            return self._allowed()
        known = {name: m for name, m in self.measurements.items() if m.is_complete}
        if broken(limits, {name: m.value for name, m in known.items()}):
            return replace(self, status="infeasible", reason=explain(limits, known))
        for limit in limits:
            if limit.metric not in known:
                how = "measured in part only" if limit.metric in self.measurements else "not measured"
                return replace(self, status="infeasible", reason=f"{limit.metric} was {how}: {limit}")
        return self._allowed()

    def _allowed(self) -> Record:
        """The same record, that keeps all limits."""
        return self if self.status == "ok" and not self.reason else replace(self, status="ok", reason="")
