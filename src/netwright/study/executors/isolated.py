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
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...core.candidate import Candidate
from ...core.children import Fork, by_lasting_thread, framed, ready, unframed
from ...core.errors import MachineFault
from ...core.metric import Measurement
from ...core.temporary import TemporaryFolder
from ...core.units import format_value
from ..entries import choices_of
from ..evaluate import EvaluationPlan, evaluate
from ..racing import Rivals

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
    """

    def __init__(self, plan: EvaluationPlan) -> None:
        self.plan = plan
        self.fresh = True
        """Whether it was asked nothing yet."""
        self._folder = TemporaryFolder()
        self._code: int | None = None
        for stream in (sys.stdout, sys.stderr):  # what is in their buffers would be written twice
            with contextlib.suppress(AttributeError, OSError, ValueError):
                stream.flush()
        ends: list[int] = []
        try:
            ends += os.pipe()
            ends += os.pipe()
            jobs, self._jobs, self._answers, answers = ends
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)  # of threads, see above
                self._fork = by_lasting_thread(
                    lambda: Fork(
                        lambda: _serve(plan, jobs, answers, str(self._folder.path)), close=(self._jobs, self._answers)
                    )
                )
        except BaseException:
            for end in ends:
                os.close(end)
            self._folder.close()
            raise
        os.close(jobs)
        os.close(answers)

    def ask(self, job: Mapping[str, Any], seconds: float, memory: float) -> dict[str, Any]:
        """The answer to a job.

        Args:
            job: see :func:`job_of`.
            seconds: that it may take.
            memory: bytes that may be needed beyond what is held now.

        Raises :class:`Unmeasured` where it needs more, and :class:`Ended` where the process ends before it answers.
        """
        watched = math.isfinite(memory)
        before = held(self._fork.pid) if watched else 0.0
        begin = time.monotonic()
        with contextlib.suppress(BrokenPipeError), open(self._jobs, "wb", closefd=False) as pipe:
            pipe.write(json.dumps(job).encode() + b"\n")
        found = bytearray()
        while (text := unframed(found)) is None:
            left = begin + seconds - time.monotonic()
            runs = self._fork.runs  # before it is looked for an answer, which is there when the process has ended
            if ready([self._answers], max(0.0, min(left, STEP_S if watched else 1.0)) if runs else 0.0):
                part = os.read(self._answers, 1 << 20)
                found += part
                if not part:
                    self._fork.wait(ENDING_S)
                    raise Ended(self._stopped())
            elif not runs:
                raise Ended(self._stopped())
            elif left <= 0:
                raise Unmeasured(f"took more than {seconds:g} s")
            elif watched and held(self._fork.pid) - before > memory:
                raise Unmeasured(f"needed more than {format_value(memory, 'B')}")
        answer: dict[str, Any] = json.loads(text)
        return answer

    def stop(self) -> None:
        """End it, and what it has started."""
        self._stopped()

    def _stopped(self) -> int:
        """Its exit code, after it was ended where it has not."""
        if self._code is None:
            self._code = self._fork.stop()
            os.close(self._jobs)
            os.close(self._answers)
            self._folder.close()
        return self._code


def job_of(
    candidate: Candidate, provenance: Mapping[str, Any], rivals: Rivals | None, predictions: Mapping[str, Measurement]
) -> dict[str, Any]:
    """What is asked of the process, as JSON values; see :func:`netwright.study.evaluate.evaluate`."""
    race = rivals and {
        "points": rivals.points.tolist(), "totals": dict(rivals.totals), "confidence": rivals.confidence,
    }  # fmt: skip
    told = {name: m.to_json() for name, m in predictions.items()}
    return {"candidate": dict(candidate), "provenance": dict(provenance), "rivals": race, "predictions": told}


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


# -- in the process -----------------------------------------------------------------------------------------------


def _serve(plan: EvaluationPlan, jobs: int, answers: int, folder: str) -> bytes:
    """Answer until there are no more jobs."""
    own = os.getpid()
    _settle(folder)
    with os.fdopen(jobs, "rb") as lines:
        while line := lines.readline():
            answer = json.dumps(_answer(plan, json.loads(line))).encode()
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


def _answer(plan: EvaluationPlan, job: Mapping[str, Any]) -> dict[str, Any]:
    candidate = plan.net.space.candidate(choices_of(job["candidate"]))
    rivals, race = None, job["rivals"]
    if race:
        rivals = Rivals(plan.objectives, np.array(race["points"]), race["totals"], race["confidence"])
    predictions = {name: Measurement.from_json(m) for name, m in job["predictions"].items()}
    answer: dict[str, Any]
    with warnings.catch_warnings(record=True) as said:
        try:
            answer = {"record": evaluate(plan, candidate, job["provenance"], rivals, predictions).to_json()}
        except MachineFault as fault:
            answer = {"fault": str(fault)}
        except KeyboardInterrupt:
            answer = {"interrupted": True}
    return {**answer, "warnings": [[str(w.message), w.category.__name__, w.filename, w.lineno] for w in said]}
