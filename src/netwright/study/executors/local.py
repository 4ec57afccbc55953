"""Evaluations on this machine: in this process, or in some of their own, with limits and several at once."""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from ...core.children import how_it_ended, ready, was_killed
from ...core.errors import CallError, MachineFault, MeasureError
from ...core.interruption import raise_lost
from ...core.record import Record
from ...core.temporary import TemporaryFolder
from ...core.units import parse_bytes
from ..evaluate import EvaluationPlan, Job, evaluate, failure, raise_fault
from ..turns import SharedTurns
from .base import Executor
from .isolated import STEP_S, Answers, Ended, Isolated, Unmeasured

MOST_WORKERS = 1000


@dataclass(frozen=True)
class _Running:
    """A job that a process evaluates.

    Args:
        job: which one.
        process: in which.
        is_fresh: whether the process had evaluated nothing before.
        begin: when the job was begun (``time.time()``).
        again: whether another process has ended at it already.
    """

    job: Job
    process: Isolated
    is_fresh: bool
    begin: float
    again: bool = False


class Local(Executor):
    """This machine.

    One worker without limits evaluates candidates in this process: one that crashes ends it. Several workers, and one
    with limits, are processes of their own, copies of this one that last until a candidate ends them or exceeds a
    limit. A candidate at which one ends is evaluated once more in a fresh one, if others were evaluated before it or it
    was killed (SIGKILL): it need not have been to blame.

    Of several workers one at a time measures on a device. While it does so on this machine, the cores that this takes
    are its own; where there are no others, all other work rests.

    Args:
        timeout: seconds that evaluating one candidate may take; 0 or None for any time. Waiting for a turn to measure
            does not count.
        memory: how much more memory evaluating one candidate may need than the process had before, such as ``"2 GB"``;
            empty for any amount. What measures on a target has processes of its own, which do not count.
        workers: how many candidates are evaluated at once.
    """

    def __init__(self, timeout: float | None = None, memory: str = "", workers: int = 1) -> None:
        self.timeout, self.memory, self.workers = timeout, memory, count_of(workers)
        self._seconds, self._bytes = seconds_of(timeout), _bytes(memory)
        self.isolates = workers > 1 or min(self._seconds, self._bytes) < math.inf
        self._plan: EvaluationPlan | None = None
        self._folder: TemporaryFolder | None = None
        self._idle: list[Isolated] = []
        self._running: list[_Running] = []
        self._done: list[tuple[Job, Record]] = []
        self._answers = Answers()

    def submit(self, job: Job) -> None:
        if self.isolates:
            self._begin(job)
        else:
            self._done.append((job, evaluate(job)))

    def results(self, seconds: float | None = None) -> list[tuple[Job, Record]]:
        deadline = math.inf if seconds is None else time.monotonic() + seconds
        while self._running:
            raise_lost()
            for each in list(self._running):
                self._look(each)
            left = deadline - time.monotonic()
            if self._done or left <= 0:
                break
            wait = min([left, STEP_S if self._bytes < math.inf else 1.0, *(r.process.left for r in self._running)])
            ready((r.process.answers for r in self._running), max(0.0, wait))
        done, self._done = self._done, []
        return done

    def close(self) -> None:
        for process in (*self._idle, *(r.process for r in self._running)):
            process.stop()
        for several in (self._idle, self._running, self._done):
            several.clear()
        if self._folder is not None:
            self._folder.close()
        self._folder = None

    def _begin(self, job: Job, before: _Running | None = None) -> None:
        """Have a process evaluate a job, where another has ended at it once more."""
        if self._plan is not job.plan:
            self.close()
            self._plan = job.plan
        begin = before.begin if before else time.time()
        try:
            process = self._idle.pop() if self._idle else self._made(job.plan)
            self._running.append(_Running(job, process, process.is_fresh, begin, before is not None))
            process.ask(job, self._seconds, self._bytes)
        except OSError as error:  # no process, no pipe
            raise_fault(error)
            raise MachineFault(f"no process can be started to evaluate networks in: {error.strerror}") from error

    def _made(self, plan: EvaluationPlan) -> Isolated:
        """A process more that evaluates by a plan."""
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_initialized():
            raise MeasureError(
                "a process that uses CUDA cannot be copied to evaluate networks in: search with one worker, without a "
                "time limit and a memory limit, or on the CPU"
            )
        turns = None
        places = [m.place for m in plan.measurers if m.place is not None]
        if self.workers > 1 and places:
            self._folder = self._folder or TemporaryFolder()
            turns = SharedTurns(self._folder.path, max(place.cores for place in places))
        others = [end for process in (*self._idle, *(r.process for r in self._running)) for end in process.ends]
        return Isolated(plan, turns, others)

    def _look(self, running: _Running) -> None:
        """Note what has become of a job, if it is done."""
        job = running.job
        try:
            answer = running.process.answer()
        except Ended as ended:
            self._running.remove(running)
            if not running.again and (was_killed(ended.code) or not running.is_fresh):
                self._begin(job, running)
            else:
                self._done.append((job, failure(job, how_it_ended(ended.code), running.begin)))
            return
        except Unmeasured as error:
            self._running.remove(running)
            running.process.stop()
            self._done.append((job, failure(job, str(error), running.begin)))
            return
        if answer is not None:
            self._running.remove(running)
            self._idle.append(running.process)
            self._done.append((job, self._answers.record(job, answer)))


def count_of(workers: int) -> int:
    """How many workers there are."""
    if isinstance(workers, bool) or not isinstance(workers, int) or not 1 <= workers <= MOST_WORKERS:
        raise CallError(f"workers is a whole number from 1 to {MOST_WORKERS:,}, not {workers!r}")
    return workers


def seconds_of(timeout: float | None) -> float:
    """A time limit in seconds; infinite where there is none."""
    if isinstance(timeout, bool) or not isinstance(timeout, int | float | None) or not (timeout or 0) >= 0:
        raise CallError(f"timeout is a number of seconds, such as 30, or 0 for any time, not {timeout!r}")
    return float(timeout) if timeout else math.inf


def _bytes(memory: str) -> float:
    """A memory limit in bytes; infinite where there is none."""
    if not memory:
        return math.inf
    try:
        found = parse_bytes(memory)
    except (ValueError, TypeError):
        found = 0.0
    if not found > 0:
        raise CallError(f"memory is a size such as '2 GB', or empty for any, not {memory!r}")
    if not Path("/proc/self/status").exists():
        raise CallError("how much memory a process needs can be told on Linux only: leave memory out")
    return found
