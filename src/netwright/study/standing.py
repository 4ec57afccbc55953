"""Which records stand, which are predicted, and which candidates are measured again."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..core.candidate import Candidate
from ..core.front import Front, front, is_comparable, losses
from ..core.limits import broken
from ..core.record import Record
from ..strategies.base import History
from .evaluate import EvaluationPlan
from .failures import BY
from .prediction import is_predicted, needs_measurement
from .racing import is_dominated_partial


class Standing:
    """The records of a study under its current limits, kept up as records are added.

    Args:
        plan: of the study.
        records: all, judged by the plan's limits.
        again: candidates that are to be measured again whatever became of them.
    """

    def __init__(self, plan: EvaluationPlan, records: Iterable[Record], again: Iterable[Candidate]) -> None:
        self.plan, self._again = plan, set(again)
        self._names = [m.name for m in plan.objectives]
        self._records = {r.candidate: r for r in records}
        self._known: History | None = None
        self._build()

    def add(self, record: Record) -> None:
        """Take in a record that was just made, judged by the plan's limits."""
        before = self._records.pop(record.candidate, None)
        self._records[record.candidate] = record
        self._again.discard(record.candidate)
        if before is not None:  # it counts in its new place
            self._build()
            return
        if is_comparable(record, self._names):
            self._grow_front(record)
        self._sort(record)

    @property
    def records(self) -> list[Record]:
        """All, in the order of measuring."""
        return list(self._records.values())

    @property
    def front(self) -> Front:
        """The non-dominated feasible records, of those that were measured whole."""
        return self._front

    @property
    def known(self) -> History:
        """The records that are known well enough under the current limits: what was cut short by limits that have
        since been loosened, lacks what is limited now, or was stopped and is no longer dominated, is measured again.
        What was predicted counts as known."""
        if self._known is None:
            self._known = History(r for r in self._records.values() if r.candidate not in self._unknown)
        return self._known

    @property
    def again(self) -> list[Candidate]:
        """Who is measured before anybody new: who was stopped and is no longer dominated may be on the front; who was
        on its way when the device was lost, and who failed and is to be measured again, waits for its figures."""
        return [r.candidate for r in self._unknown.values() if r.best_cases or r.status == "failed"]

    @property
    def unmeasured(self) -> list[Record]:
        """The records of which something was predicted, and that are on the front if it comes true."""
        return needs_measurement(list(self._told.values()), self.front, self.plan.objectives, self.plan.limits)

    def is_final(self, record: Record) -> bool:
        """Whether a record stands, whatever becomes of the others."""
        if record.status == "failed":
            changed = record.provenance.get(BY, self.plan.code) != self.plan.code
            return not (changed or is_device_lost(record) or record.candidate in self._again)
        open_ = record.best_cases
        measured = {k: v for k, v in record.values.items() if k not in open_} if open_ else record.values
        return self.plan.needed <= measured.keys() or bool(broken(self.plan.limits, measured))

    def _build(self) -> None:
        """Find everything out anew."""
        self._set_front(front(self._records.values(), self.plan.objectives))
        self._told: dict[Candidate, Record] = {}
        self._unknown: dict[Candidate, Record] = {}
        for record in self._records.values():
            self._sort(record)
        self._known = None

    def _sort(self, record: Record) -> None:
        """Note what a record counts as."""
        limits = self.plan.limits
        final = self.is_final(record)
        told = not final and is_predicted(record, limits, self.plan.needed)
        if told:
            self._told[record.candidate] = record
        if final or told or is_dominated_partial(record, self.plan.objectives, self._points):
            if self._known is not None:
                self._known.append(record)
        else:
            self._unknown[record.candidate] = record

    def _grow_front(self, record: Record) -> None:
        """The front with a record more, and who of those that were stopped it dominates: nobody who was dominated
        before is not any more."""
        own = losses([record], self.plan.objectives)[0]
        points = self._points
        if np.any(np.all(points <= own, axis=1) & np.any(points < own, axis=1)):
            return
        stays = ~(np.all(own <= points, axis=1) & np.any(own < points, axis=1))
        # Where they are equal in all objectives, who was measured first comes first.
        left, kept = points[stays], [r for r, stay in zip(self._front, stays, strict=True) if stay]
        at = sum(tuple(row) <= tuple(own) for row in left)
        self._set_front(Front([*kept[:at], record, *kept[at:]], self.plan.objectives))
        lost = [r for r in self._unknown.values() if is_dominated_partial(r, self.plan.objectives, self._points)]
        for each in lost:
            del self._unknown[each.candidate]
            self._known = None  # its place is among the others

    def _set_front(self, found: Front) -> None:
        self._front, self._points = found, losses(found, self.plan.objectives)


def is_device_lost(record: Record) -> bool:
    """Whether the device was lost while this was measured."""
    return bool(record.provenance.get("device_lost"))
