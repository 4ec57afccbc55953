"""Evaluations on this machine, one after another: in this process, or with limits in one of their own."""

from __future__ import annotations

import math
import sys
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...core.candidate import Candidate
from ...core.children import how_it_ended, was_killed
from ...core.errors import CallError, MachineFault, MeasureError
from ...core.metric import Measurement
from ...core.record import Record
from ...core.units import parse_bytes
from ..evaluate import NOTHING, EvaluationPlan, evaluate, failure, raise_fault
from ..racing import Rivals
from .base import Executor
from .isolated import Ended, Isolated, Unmeasured, job_of


class Local(Executor):
    """This machine, one candidate after another.

    Without limits candidates are evaluated in this process: one that crashes ends it. With one of them they are
    evaluated in a process of their own, a copy of this one that lasts until a candidate ends it or exceeds a limit. A
    candidate at which it ends is evaluated once more in a fresh one, if others were evaluated before it or it was
    killed (SIGKILL): it need not have been to blame.

    Args:
        timeout: seconds that evaluating one candidate may take; 0 or None for any time.
        memory: how much more memory evaluating one candidate may need than the process had before, such as ``"2 GB"``;
            empty for any amount. What measures on a target has processes of its own, which do not count.
    """

    def __init__(self, timeout: float | None = None, memory: str = "") -> None:
        self.timeout, self.memory = timeout, memory
        self._seconds, self._bytes = _seconds(timeout), _bytes(memory)
        self._process: Isolated | None = None
        self._said: dict[str | tuple[str, type[Warning], int], int] = {}

    def evaluate(
        self,
        plan: EvaluationPlan,
        candidate: Candidate,
        provenance: Mapping[str, Any] = NOTHING,
        rivals: Rivals | None = None,
        predictions: Mapping[str, Measurement] = NOTHING,
    ) -> Record:
        if self._seconds == self._bytes == math.inf:
            return evaluate(plan, candidate, provenance, rivals, predictions)
        begin = time.time()
        try:
            answer = self._answer(plan, job_of(candidate, provenance, rivals, predictions))
        except Unmeasured as error:
            return failure(plan, candidate, provenance, str(error), begin)
        except OSError as error:  # no process, no pipe
            raise_fault(error)
            raise MachineFault(f"no process can be started to evaluate networks in: {error.strerror}") from error
        for text, category, file, line in answer["warnings"]:
            kind = getattr(sys.modules["builtins"], category, UserWarning)
            warnings.warn_explicit(text, kind, file, line, registry=self._said)
        if answer.get("interrupted"):
            raise KeyboardInterrupt
        if fault := answer.get("fault"):
            raise MachineFault(fault)
        return Record.from_json(answer["record"], plan.objectives, lambda _: candidate)

    def close(self) -> None:
        if self._process is not None:
            self._process.stop()
        self._process = None

    def _answer(self, plan: EvaluationPlan, job: Mapping[str, Any]) -> dict[str, Any]:
        """What the process says of a candidate."""
        for again in (False, True):
            process = self._of(plan)
            fresh, process.fresh = process.fresh, False
            try:
                return process.ask(job, self._seconds, self._bytes)
            except Ended as ended:
                self.close()
                if again or (fresh and not was_killed(ended.code)):
                    raise Unmeasured(how_it_ended(ended.code)) from None
            except BaseException:  # no answer may be taken for that to the next job
                self.close()
                raise
        raise AssertionError

    def _of(self, plan: EvaluationPlan) -> Isolated:
        """The process that evaluates by a plan."""
        if self._process is not None and self._process.plan is not plan:
            self.close()
        if self._process is None:
            torch = sys.modules.get("torch")
            if torch is not None and torch.cuda.is_initialized():
                raise MeasureError(
                    "a process that uses CUDA cannot be copied to evaluate networks in: search without a time limit "
                    "and a memory limit, or on the CPU"
                )
            self._process = Isolated(plan)
        return self._process


def _seconds(timeout: float | None) -> float:
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
