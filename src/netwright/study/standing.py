"""Which records stand, which are predicted, and which candidates are measured again."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

from ..core.candidate import Candidate
from ..core.front import Front, front, losses
from ..core.limits import broken
from ..core.record import Record
from .evaluate import EvaluationPlan
from .failures import BY
from .prediction import is_predicted, needs_measurement
from .racing import is_dominated_partial, partial_bounds


class Standing:
    """The records of a study under its current limits.

    Args:
        plan: of the study.
        records: all, judged by the plan's limits.
        again: candidates that are to be measured again whatever became of them.
    """

    def __init__(self, plan: EvaluationPlan, records: Iterable[Record], again: Iterable[Candidate]) -> None:
        self.plan, self.records, self._again = plan, list(records), frozenset(again)

    @cached_property
    def front(self) -> Front:
        """The non-dominated feasible records, of those that were measured whole."""
        return front(self.records, self.plan.objectives)

    @cached_property
    def known(self) -> list[Record]:
        """The records that are known well enough under the current limits: what was cut short by limits that have
        since been loosened, lacks what is limited now, or was stopped and is no longer dominated, is measured again.
        What was predicted counts as known."""
        points = losses(self.front, self.plan.objectives)
        return [
            r
            for r in self.records
            if self.is_final(r)
            or is_predicted(r, self.plan.limits, self.plan.needed)
            or is_dominated_partial(r, self.plan.objectives, points)
        ]

    @cached_property
    def again(self) -> list[Candidate]:
        """Who is measured before anybody new: who was stopped and is no longer dominated may be on the front; who was
        on its way when the device was lost, and who failed and is to be measured again, waits for its figures."""
        known = {r.candidate for r in self.known}
        return [
            r.candidate
            for r in self.records
            if (partial_bounds(r) or r.status == "failed") and r.candidate not in known
        ]

    @cached_property
    def unmeasured(self) -> list[Record]:
        """The records of which something was predicted, and that are on the front if it comes true."""
        limits, needed = self.plan.limits, self.plan.needed
        told = [r for r in self.records if is_predicted(r, limits, needed) and not self.is_final(r)]
        return needs_measurement(told, self.front, self.plan.objectives, limits)

    def is_final(self, record: Record) -> bool:
        """Whether a record stands, whatever becomes of the others."""
        if record.status == "failed":
            changed = record.provenance.get(BY, self.plan.code) != self.plan.code
            return not (changed or is_device_lost(record) or record.candidate in self._again)
        open_ = partial_bounds(record)
        measured = {k: v for k, v in record.values.items() if k not in open_} if open_ else record.values
        return self.plan.needed <= measured.keys() or bool(broken(self.plan.limits, measured))


def is_device_lost(record: Record) -> bool:
    """Whether the device was lost while this was measured."""
    return bool(record.provenance.get("device_lost"))
