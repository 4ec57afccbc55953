"""The measuring process, seen from the process that asks it."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.children import Child, how_it_ended, ready, was_killed
from ..core.errors import MachineFault, MeasureError, format_error
from ..core.faults import fix_of, machine_fault
from .runtimes.base import Runtime

START_S = 120.0
"""Seconds that a measuring process may take to start and to import its runtime, beside those of the job."""

SPARE_S = 10.0
"""Seconds beside those of a job, after which a measuring process that ends its jobs itself must have answered."""

ENDING_S = 2.0
"""Seconds in which a process ends that has nothing left to do."""

BEGINS = {"begins": True}
"""The line that a measuring process writes when its runtime is imported: from here on the job's own time counts."""

QUIET = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "0",
    "KMP_BLOCKTIME": "0",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "PYTHONUNBUFFERED": "1",
}
"""Idle threads sleep: their spinning would count as the network's CPU time."""

KEEPING = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(64 << 20)}
"""glibc keeps memory that is freed, as it does of its own in a process that has freed a block of 32 MB once
(``mallopt(3)``, dynamic thresholds). Until then it may give the activations of every inference back to the system and
ask for them anew: thousands of page faults, by which PyTorch is slower by up to a third in one process than in another.
"""


class _Killed(Exception):
    """A measuring process was ended from outside.

    Args:
        code: its exit code.
    """

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Worker:
    """One measuring process for one runtime and number of threads; started when it is first asked."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._child: Child | None = None
        self._said: Any = None
        self._read = bytearray()
        self._loaded = False

    def ask(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a job.

        A measuring process that was ended from outside is asked anew, once.

        Raises :class:`MeasureError` with the reason where there is no answer: the runtime failed, crashed or hung; and
        :class:`netwright.core.errors.MachineFault` where this machine is to blame.
        """
        with contextlib.suppress(_Killed):
            return self._asked(job)
        self.stop()
        try:
            return self._asked(job)
        except _Killed as killed:
            name = job["runtime"]["runtime"]
            raise MeasureError(f"the measuring process of {name} {how_it_ended(killed.code, ' twice')}") from None

    def _asked(self, job: Mapping[str, Any]) -> dict[str, Any]:
        name, seconds = job["runtime"]["runtime"], float(job["seconds"])
        child = self._started()
        try:
            self._write(child, json.dumps(job).encode() + b"\n")
            answer = self._line(child, SPARE_S if self._loaded else START_S)
            if answer == BEGINS:
                self._loaded = True
                answer = self._line(child, seconds + SPARE_S)
        except BaseException:  # an interruption: no answer may be taken for that to the next job
            self.stop()
            raise
        if answer is None:
            raise self._reason(child, name)
        if "errno" in answer:
            raise MachineFault(answer["failed"]) from OSError(answer["errno"], answer["failed"])
        if was_killed(answer.get("code", 0)):
            raise _Killed(answer["code"])
        if "failed" in answer:
            raise MeasureError(answer["failed"])
        return answer

    def _reason(self, child: Child, name: str) -> Exception:
        """Why there is no answer."""
        hangs = not child.wait(ENDING_S)
        said = self._last_words()
        code = child.stop()
        self.stop()
        if hangs:
            return MeasureError(f"the measuring process of {name} hangs{said}")
        if was_killed(code):
            return _Killed(code)
        return MeasureError(f"the measuring process of {name} {how_it_ended(code)}{said}")

    def stop(self) -> None:
        """End the process; the next job starts another."""
        if self._child is None:
            return
        stdin = self._child.process.stdin
        assert stdin is not None
        with contextlib.suppress(OSError):  # at the end of its input it ends, and the fork with it that measures
            stdin.close()
        self._child.wait(ENDING_S)
        self._child.stop()
        self._said.close()
        self._child, self._loaded = None, False

    def _started(self) -> Child:
        if self._child is not None and self._child.runs:
            self._said.seek(0)
            self._said.truncate()
            return self._child
        self.stop()
        threads = str(self._threads)
        environment = {**os.environ, **QUIET, **KEEPING, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": "1"}
        # A runtime of a person's own lies where this process finds it.
        found = [str(Path(__file__).parents[2]), *(each or os.getcwd() for each in sys.path)]
        environment["PYTHONPATH"] = os.pathsep.join(found)
        command = [sys.executable, "-P", "-m", "netwright.measure.worker"]  # and not where the person happens to be
        try:
            self._said = tempfile.TemporaryFile()  # noqa: SIM115  # closed by stop()
            self._child = Child(command, None, environment, subprocess.PIPE, subprocess.PIPE, self._said)
        except OSError as error:  # no file, no process: whatever the reason, no network is to blame
            fault = machine_fault(error)
            why = fix_of(fault) if fault else format_error(error)
            raise MachineFault(f"no measuring process can be started: {why}") from error
        self._read.clear()
        assert self._child.process.stdin is not None
        os.set_blocking(self._child.process.stdin.fileno(), False)
        return self._child

    def _write(self, child: Child, text: bytes) -> None:
        """Send a job, as far as it is read."""
        assert child.process.stdin is not None
        pipe, deadline = child.process.stdin.fileno(), time.monotonic() + SPARE_S
        with contextlib.suppress(BrokenPipeError):
            while text and (left := deadline - time.monotonic()) > 0 and ready([pipe], left, select.POLLOUT):
                text = text[os.write(pipe, text) :]

    def _line(self, child: Child, seconds: float) -> dict[str, Any] | None:
        """The next line of the answers; None where there is none after so many seconds, or the process ended."""
        assert child.process.stdout is not None
        deadline, pipe = time.monotonic() + seconds, child.process.stdout.fileno()
        while b"\n" not in self._read[-(1 << 16) :]:
            left = deadline - time.monotonic()
            if left <= 0 or not ready([pipe], left):
                return None
            part = os.read(pipe, 1 << 16)
            self._read += part
            if not part:
                return None
        line, _, rest = self._read.partition(b"\n")
        self._read = bytearray(rest)
        found: dict[str, Any] = json.loads(line)
        return found

    def _last_words(self) -> str:
        size = self._said.seek(0, os.SEEK_END)
        self._said.seek(max(0, size - 2000))
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        return f": {lines[-1]}" if lines else ""


_workers: dict[tuple[str, int], Worker] = {}


def worker(runtime: Runtime) -> Worker:
    """This process's own worker for a runtime; it lasts as long as this process."""
    key = (runtime.name, runtime.threads)
    if key not in _workers:
        _workers[key] = Worker(runtime.threads)
    return _workers[key]


@atexit.register
def stop_all() -> None:
    """End all workers."""
    for each in _workers.values():
        each.stop()
    _workers.clear()


os.register_at_fork(after_in_child=_workers.clear)  # a fork asks processes of its own
