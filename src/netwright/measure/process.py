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

from ..core.errors import MeasureError
from .runtimes.base import Runtime

START_S = 120.0
"""Seconds that a measuring process may take to start and to import its runtime, beside those of the job."""

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


class Worker:
    """One measuring process for one runtime and number of threads; started when it is first asked."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._process: subprocess.Popen[bytes] | None = None
        self._said: Any = None

    def ask(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a job.

        Raises :class:`MeasureError` with the reason where there is none: the runtime failed, crashed or hung.
        """
        process = self._started()
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(job).encode() + b"\n")
            process.stdin.flush()
            text = self._line(float(job["seconds"]) + START_S)
        except BrokenPipeError:
            text = b""
        except BaseException:  # an interruption: no answer may be taken for that to the next job
            self.stop()
            raise
        if not text:
            hangs = process.poll() is None and text is None
            code = process.poll() if not hangs else None
            said = self._last_words()
            self.stop()
            name = job["runtime"]["runtime"]
            how = "hangs" if hangs else f"ended (exit code {code})"
            raise MeasureError(f"the measuring process of {name} {how}{said}")
        answer: dict[str, Any] = json.loads(text)
        if "failed" in answer:
            raise MeasureError(answer["failed"])
        return answer

    def stop(self) -> None:
        """End the process; the next job starts another."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # at the end of its input it ends, and the fork with it that measures
            self._process.stdin.close()
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._said):
            if stream is not None:
                stream.close()
        self._process = None

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.stop()
        threads = str(self._threads)
        environment = {**os.environ, **QUIET, **KEEPING, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": "1"}
        # A runtime of a person's own lies where this process finds it.
        environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)])
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  # closed by stop()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "netwright.measure.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            env=environment,
        )
        return self._process

    def _line(self, seconds: float) -> bytes | None:
        """The next line of the answers; empty where the process ended, None after so many seconds."""
        assert self._process is not None and self._process.stdout is not None
        deadline = time.monotonic() + seconds
        pipe = self._process.stdout.fileno()
        found = b""
        while (left := deadline - time.monotonic()) > 0:
            ready, _, _ = select.select([pipe], [], [], left)
            if ready:
                part = os.read(pipe, 1 << 16)
                found += part
                if not part or found.endswith(b"\n"):
                    return found
        return None

    def _last_words(self) -> str:
        self._said.seek(0)
        lines = self._said.read()[-2000:].decode(errors="replace").strip().splitlines()
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
