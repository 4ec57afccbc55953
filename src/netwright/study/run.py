"""A run of a study that goes on, and what is told of it."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass, field
from typing import Any

from ..core.candidate import Candidate
from ..core.record import Record
from ..strategies.base import Strategy
from .evaluate import Job
from .executors.base import Executor


@dataclass(frozen=True)
class Step:
    """A record that was just made, and how far the study is."""

    record: Record
    done: int
    evaluations: int


Watch = Callable[[Step], None]

Choose = Callable[[Set[Candidate]], Candidate | None]
"""Which candidate is evaluated next, where others evaluate those that are given."""


@dataclass
class Run:
    """A run that goes on.

    Args:
        strategy: proposes candidates.
        evaluations: records that the study is to hold.
        watch: is told of each record.
        executor: evaluates.
        jobs: what is being evaluated, by candidate.
        done: those of them that are, with their records, which are to be journalled.
        short: others that are, of candidates that ran out of memory.
        claimed: who is evaluated next, where that was said along with the records of others.
        lost: whether the device was lost in the last measurement.
    """

    strategy: Strategy
    evaluations: int
    watch: Watch | None
    executor: Executor
    jobs: dict[Candidate, Job] = field(default_factory=dict)
    done: list[tuple[Job, Record]] = field(default_factory=list)
    short: list[tuple[Job, Record]] = field(default_factory=list)
    claimed: Candidate | None = None
    lost: bool = False

    def waiting(self, asked: dict[Candidate, Any], taken: Set[Candidate]) -> Candidate | None:
        """The first of those that were asked for and that nobody evaluates.

        Args:
            asked: in the order in which they were asked for.
            taken: those of them that others evaluate.
        """
        done = {job.candidate for job, _ in self.done}
        first, left = None, len(asked) - len(self.jobs) - sum(c in asked for c in done | taken)
        for candidate in reversed(asked):  # who waits was asked for last, after the many that are being evaluated
            if candidate in self.jobs or candidate in done or candidate in taken:
                continue
            first, left = candidate, left - 1
            if left == 0:
                break
        return first
