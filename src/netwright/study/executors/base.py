"""What an executor is."""

from __future__ import annotations

from abc import ABC, abstractmethod

from ...core.record import Record
from ..evaluate import Job


class Executor(ABC):
    """Where candidates are evaluated, one or several at once.

    Whatever becomes of an evaluation makes the record ``failed``, with the reason, but for faults of the machine: they
    raise :class:`MachineFault`.
    """

    workers: int = 1
    """How many jobs it has at once."""
    isolates: bool = False
    """Whether evaluations run in other processes than the one that asks: a candidate cannot end that one."""

    @abstractmethod
    def submit(self, job: Job) -> None:
        """Have a job evaluated; see :func:`netwright.study.evaluate.evaluate`. One that evaluates here has done it when
        this returns. Asked for no more than :attr:`workers` jobs at once."""

    @abstractmethod
    def results(self, seconds: float | None = None) -> list[tuple[Job, Record]]:
        """The jobs that are done since this was last asked, with their records, after waiting for the first; none where
        there are no jobs, or after so many seconds."""

    def evaluate(self, job: Job) -> Record:
        """The record of a job, while there is no other."""
        self.submit(job)
        ((_, record),) = self.results()
        return record

    def close(self) -> None:  # noqa: B027  # most start nothing
        """End what was started for evaluations, those that are not done among it; the next job starts it again."""
