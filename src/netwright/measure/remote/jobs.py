"""The jobs of an agent: what it takes of what strangers send, and in which order it runs them."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from threading import Condition, Thread
from typing import Any

from ...core.errors import MachineFault, NetwrightError, did_you_mean, format_error
from ...core.faults import machine_fault
from ..process import stop_all, worker
from ..runtimes import RUNTIMES, from_json
from ..runtimes.base import Runtime
from ..sampling import SamplingPlan
from ..worker import JOBS
from . import FILES
from .files import Refused

KEPT = 256
"""Answers at most, of jobs that are done."""
PARTS = 4096
"""Files at most that one file consists of."""


@dataclass(frozen=True)
class Limits:
    """What an agent takes.

    Args:
        file_bytes: the most bytes of one file.
        total_bytes: the most bytes of all files that it keeps.
        json_bytes: the most bytes of a job's JSON.
        waiting: jobs that wait while another runs.
        seconds: the most seconds of a job, whatever it asks for.
        kept_s: seconds that an answer is kept for a client that has lost its connection.
        kept_bytes: the most letters of all answers that are kept, but for the last.
    """

    file_bytes: int = 2 * 10**9
    total_bytes: int = 8 * 10**9
    json_bytes: int = 1 << 20
    waiting: int = 8
    seconds: float = 900.0
    kept_s: float = 3600.0
    kept_bytes: int = 1 << 28


@dataclass
class Job:
    """A job that was taken, and its answer once there is one."""

    digest: str
    runtime: Runtime
    body: Mapping[str, Any]
    folder: Path
    state: str = "queued"
    answer: Mapping[str, Any] | None = None
    ended: float = 0.0


class Jobs:
    """Runs jobs one at a time, in the order in which they came, and keeps their answers for a while."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._jobs: dict[str, Job] = {}
        self._changed = Condition()
        self._last: tuple[str, int] | None = None
        self._closed = False
        Thread(target=self._run_all, daemon=True).start()

    def knows(self, key: str, what: str) -> bool:
        """Whether the job of this key was taken. Raises :class:`Refused` where its digest is another one."""
        with self._changed:
            known = self._jobs.get(key)
        if known is not None and known.digest != what:
            raise Refused(400, f"the key {key} is that of another job")
        return known is not None

    def add(self, key: str, make: Callable[[], Job]) -> None:
        """Queue the job that ``make`` gives, under a key that is not known yet.

        Raises :class:`Refused` where too many wait.
        """
        with self._changed:
            self._forget()
            if sum(j.state == "queued" for j in self._jobs.values()) >= self._limits.waiting:
                raise Refused(429, f"{self._limits.waiting} jobs wait already")
            if key not in self._jobs:
                self._jobs[key] = make()
                self._changed.notify_all()

    def wait(self, key: str, seconds: float) -> dict[str, Any]:
        """The state of a job and its answer, when it is done or after so many seconds."""
        with self._changed:
            job = self._jobs.get(key)
            if job is None:
                raise Refused(404, "this job is not known; the agent was started anew, or it is long ago")
            self._changed.wait_for(lambda: job.answer is not None, seconds)
            return {"state": job.state, "answer": job.answer}

    def close(self) -> None:
        """Give no more answers: a job that is ended with the agent did not fail, its client sends it again."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _forget(self) -> None:
        size, now = 0, time.monotonic()
        done = [(key, job) for key, job in self._jobs.items() if job.answer is not None]
        for at, (key, job) in enumerate(sorted(done, key=lambda each: each[1].ended, reverse=True)):
            assert job.answer is not None
            size += sum(len(each) for each in job.answer.values() if isinstance(each, str))
            if at >= KEPT or now > job.ended + self._limits.kept_s or (at and size > self._limits.kept_bytes):
                del self._jobs[key]

    def _run_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or any(j.state == "queued" for j in self._jobs.values()))
                if self._closed:
                    return
                job = next(j for j in self._jobs.values() if j.state == "queued")
                job.state = "running"
            answer = self._run(job)
            if self._closed:
                return
            with self._changed:
                job.state, job.answer, job.ended = "done", answer, time.monotonic()
                self._forget()
                self._changed.notify_all()

    def _run(self, job: Job) -> Mapping[str, Any]:
        own = (job.runtime.name, job.runtime.threads)
        if self._last != own:  # the others' memory and threads are not this job's
            stop_all()
        self._last = own
        try:
            return worker(job.runtime).ask(job.body)
        except MachineFault as error:
            fault = machine_fault(error)
            return {"failed": str(error), "errno": fault.errno if fault else 0}
        except NetwrightError as error:
            return {"failed": str(error)}
        except Exception as error:
            return {"failed": f"the agent could not run the job: {format_error(error)}"}
        finally:
            shutil.rmtree(job.folder, ignore_errors=True)


def checked(job: Mapping[str, Any], most_s: float) -> tuple[Runtime, dict[str, Any]]:
    """The runtime of a job that a stranger sent, and the job with its time limited.

    Raises :class:`Refused` for unknown kinds, keys, runtimes and settings, and for values of a wrong form.
    """
    unknown = set(job) - {"job", "runtime", "seconds", "plan", "wanted", *FILES}
    if unknown:
        raise Refused(400, f"a job has no {', '.join(sorted(unknown))[:200]}")
    kind, settings, seconds = job.get("job"), job.get("runtime"), job.get("seconds")
    if not isinstance(kind, str) or kind not in JOBS:
        raise Refused(400, f"there is no job {str(kind)[:80]!r}; there are {', '.join(JOBS)}")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
        raise Refused(400, "a job needs its 'seconds'")
    if not isinstance(settings, dict) or not all(isinstance(v, str | int | float | None) for v in settings.values()):
        raise Refused(400, "a job needs its 'runtime': a name and settings")
    if settings.get("runtime") not in RUNTIMES.names():  # module:Class would import what a stranger names
        name = str(settings.get("runtime"))[:80]
        raise Refused(400, f"there is no runtime {name!r}; {did_you_mean(name, RUNTIMES.names())}")
    try:
        runtime = from_json(settings)
    except Exception as error:  # whatever a runtime makes of the settings of a stranger
        raise Refused(400, format_error(error)) from None
    for file in files_of(job):
        if not isinstance(file, dict) or not 1 <= len(file) <= PARTS:
            raise Refused(400, f"a file of a job is {{suffix: hash}}, and {PARTS} parts at most")
        for at, (part, name) in enumerate(file.items()):
            known = re.fullmatch(r"(\.[A-Za-z0-9_]{1,16}){1,3}", part) or (at and _is_place(part))
            if not known or not isinstance(name, str):
                raise Refused(400, f"{part[:80]!r} is no suffix of a file or name of one beside it, with a hash")
    plan, wanted = job.get("plan", {}), job.get("wanted", [])
    if not isinstance(plan, dict) or not set(plan) <= {f.name for f in fields(SamplingPlan)}:
        raise Refused(400, f"a sampling plan has {', '.join(f.name for f in fields(SamplingPlan))}")
    if not all(isinstance(v, int | float) and abs(v) <= 1e6 for v in plan.values()):
        raise Refused(400, "a sampling plan holds numbers of at most a million")
    if not isinstance(wanted, list) or not all(isinstance(w, str) for w in wanted):
        raise Refused(400, "'wanted' is a list of names")
    return runtime, {**job, "seconds": float(min(seconds, most_s))}


def files_of(job: Mapping[str, Any]) -> list[Any]:
    found: list[Any] = []
    for key in FILES:
        value = job.get(key, [])
        found.extend(value if isinstance(value, list) else [value])
    if len(found) > 16:
        raise Refused(400, "a job has at most 16 files")
    return found


def _is_place(name: str) -> bool:
    """Whether a name is that of a file beside another, or in a folder there, and of none elsewhere."""
    steps = name.split("/")
    fine = all(step and not step.startswith(".") and step.isprintable() and "\\" not in step for step in steps)
    return fine and len(steps) <= 8 and all(len(step.encode()) <= 200 for step in steps)
