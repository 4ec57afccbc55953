"""A process of its own in which candidates are evaluated one after another: a copy of this one."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ...core.children import Fork, by_lasting_thread, framed, ready, unframed
from ...core.errors import MachineFault
from ...core.record import Record
from ...core.temporary import TemporaryFolder
from ...core.units import format_value
from ..evaluate import EvaluationPlan, Job, evaluate
from ..turns import NOBODY_ELSE, SharedTurns, Turns

STEP_S = 0.05
"""Seconds between two looks at how much memory a process holds."""

ENDING_S = 2.0
"""Seconds in which a process ends that has closed its end of a pipe."""


class Unmeasured(Exception):
    """Why a candidate was not measured."""


class Ended(Exception):
    """A process ended without an answer.

    Args:
        code: its exit code, negative for the signal that ended it.
    """

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Isolated:
    """A copy of this process that evaluates the candidates of a plan.

    It is forked from a thread that computes nothing else: OpenMP's threads do not come along, and a fork of a thread
    that has used them (libgomp) would wait for them for ever. What it keeps (caches, measuring processes) it keeps from
    one candidate to the next. Its temporary files are removed with it.

    Args:
        plan: what is found of each candidate.
        turns: those of several such processes; each has its own.
        others: descriptors of this process that lead to others, which it must not hold open.
    """

    def __init__(self, plan: EvaluationPlan, turns: SharedTurns | None = None, others: Iterable[int] = ()) -> None:
        self.plan, self._turns = plan, turns
        self.is_fresh = True
        """Whether it was asked nothing yet."""
        self.answers: int
        """The descriptor that its answers come through."""
        self._folder = TemporaryFolder()
        self._code: int | None = None
        for stream in (sys.stdout, sys.stderr):  # what is in their buffers would be written twice
            with contextlib.suppress(AttributeError, OSError, ValueError):
                stream.flush()
        ends: list[int] = []
        try:
            ends += os.pipe()
            ends += os.pipe()
            jobs, self._jobs, self.answers, answers = ends
            close = (self._jobs, self.answers, *others)
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)  # of threads, see above
                self._fork = by_lasting_thread(
                    lambda: Fork(lambda: _serve(plan, turns, jobs, answers, str(self._folder.path)), close)
                )
        except BaseException:
            for end in ends:
                os.close(end)
            self._folder.close()
            raise
        os.close(jobs)
        os.close(answers)

    @property
    def ends(self) -> tuple[int, int]:
        """The descriptors of this process that lead to it."""
        return self._jobs, self.answers

    def ask(self, job: Job, seconds: float, memory: float) -> None:
        """Give it a job, which it has the answer to in its own time.

        Args:
            job: of its plan.
            seconds: that it may take, what it waits for turns aside.
            memory: bytes that may be needed beyond what is held now.
        """
        self.is_fresh = False
        self._limits, self._found = (seconds, memory), bytearray()
        self._before = held(self._fork.pid) if math.isfinite(memory) else 0.0
        self._begin = time.monotonic() - self._waited
        with contextlib.suppress(BrokenPipeError), open(self._jobs, "wb", closefd=False) as pipe:
            pipe.write(json.dumps(job.to_json()).encode() + b"\n")

    def answer(self) -> dict[str, Any] | None:
        """The answer to the last job; None where there is none yet.

        Raises :class:`Unmeasured` where it needs more than it may, and :class:`Ended` where the process has ended
        before it has answered.
        """
        runs = self._fork.runs  # before it is looked for an answer, which is there when the process has ended
        while ready([self.answers], 0.0):
            part = os.read(self.answers, 1 << 20)
            self._found += part
            if (text := unframed(self._found)) is not None:
                answer: dict[str, Any] = json.loads(text)
                return answer
            if not part:
                self._fork.wait(ENDING_S)
                raise Ended(self.stop())
        if not runs:
            raise Ended(self.stop())
        seconds, memory = self._limits
        if self.left <= 0:
            raise Unmeasured(f"took more than {seconds:g} s")
        if math.isfinite(memory) and held(self._fork.pid) - self._before > memory:
            raise Unmeasured(f"needed more than {format_value(memory, 'B')}")
        return None

    @property
    def left(self) -> float:
        """Seconds that the last job may still take."""
        return self._limits[0] - (time.monotonic() - self._waited - self._begin)

    @property
    def _waited(self) -> float:
        return self._turns.waited if self._turns else 0.0

    def stop(self) -> int:
        """End it, where it has not, and what it has started; its exit code."""
        if self._code is None:
            self._code = self._fork.stop()
            os.close(self._jobs)
            os.close(self.answers)
            self._folder.close()
        return self._code


def held(leader: int) -> float:
    """Bytes of memory that a process and those that it has started hold, but for those in groups of their own.

    What a fork shares with the process is not told from what it has copied: of forks counts what they hold beyond it.
    """
    own, total, pids = 0, 0, [leader]
    while pids:
        place = Path(f"/proc/{pids.pop()}")
        with contextlib.suppress(OSError, ValueError, IndexError):  # it has ended
            fields = (place / "stat").read_text().rpartition(")")[2].split()
            group, stack = int(fields[2]), fields[25]
            if group == leader:
                lines = [line.split() for line in (place / "status").read_text().splitlines()]
                size = sum(int(line[1]) for line in lines if line and line[0] in ("RssAnon:", "RssShmem:"))
                if place.name == str(leader):
                    own, first = size, stack
                total += size if place.name == str(leader) or stack != first else max(0, size - own)
                for children in place.glob("task/*/children"):
                    pids += map(int, children.read_text().split())
    return 1024.0 * total


class Answers:
    """Reads the answers of other processes; a warning that several give is shown as one process would."""

    def __init__(self) -> None:
        self._said: dict[str | tuple[str, type[Warning], int], int] = {}

    def record(self, job: Job, answer: Mapping[str, Any]) -> Record:
        """The record of a job from the answer to it. Raises :class:`MachineFault` and KeyboardInterrupt where the
        process that answers met one."""
        for text, category, file, line in answer["warnings"]:
            kind = getattr(sys.modules["builtins"], category, UserWarning)
            warnings.warn_explicit(text, kind, file, line, registry=self._said)
        if answer.get("interrupted"):
            raise KeyboardInterrupt
        if fault := answer.get("fault"):
            raise MachineFault(fault)
        return Record.from_json(answer["record"], job.plan.objectives, lambda _: job.candidate)


# -- in the process -----------------------------------------------------------------------------------------------


def _serve(plan: EvaluationPlan, turns: SharedTurns | None, jobs: int, answers: int, folder: str) -> bytes:
    """Answer until there are no more jobs."""
    own = os.getpid()
    _settle(folder)
    if turns:
        turns.enter()
    with os.fdopen(jobs, "rb") as lines:
        while line := lines.readline():
            answer = json.dumps(answer_of(Job.from_json(plan, json.loads(line)), turns or NOBODY_ELSE)).encode()
            if os.getpid() != own:  # a candidate's fork that came back here
                os._exit(0)
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError):
                    stream.flush()
            with open(answers, "wb", closefd=False) as pipe:
                pipe.write(framed(answer))
    return b""


def _settle(folder: str) -> None:
    """Have nothing in common with the process that this is a copy of: neither its display, whose locks its threads may
    have held, nor its temporary files."""
    for name, number in (("stdout", 1), ("stderr", 2)):
        with contextlib.suppress(OSError):
            setattr(sys, name, open(number, "w", buffering=1, errors="backslashreplace", closefd=False))  # noqa: SIM115
    tempfile.tempdir = os.environ["TMPDIR"] = folder


def answer_of(job: Job, turns: Turns) -> dict[str, Any]:
    """What a process that evaluates says of a job, as JSON values: see :class:`Answers`."""
    answer: dict[str, Any]
    with warnings.catch_warnings(record=True) as said:
        try:
            answer = {"record": evaluate(job, turns).to_json()}
        except MachineFault as fault:
            answer = {"fault": str(fault)}
        except KeyboardInterrupt:
            answer = {"interrupted": True}
    return {**answer, "warnings": [[str(w.message), w.category.__name__, w.filename, w.lineno] for w in said]}
