"""Evaluations by the actors of a Ray cluster: on many machines, which may come and go."""

from __future__ import annotations

import math
import os
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ...core.errors import CallError, MachineFault, MissingExtra, format_error
from ...core.interruption import raise_lost
from ...core.record import Record
from ...measure.base import kind_here
from ..evaluate import EvaluationPlan, Job, failure
from ..failures import ATTEMPTS
from ..machines import MACHINE
from ..turns import NOBODY_ELSE, SharedTurns, Turns
from .base import Executor
from .isolated import Answers, answer_of
from .local import MOST_WORKERS, count_of, seconds_of

LOOK_S = 1.0
"""Seconds between two looks at how many workers the cluster has room for."""


@dataclass(frozen=True)
class _Running:
    """A job that an actor evaluates.

    Args:
        job: which one.
        actor: by which.
        loads: what is there once the actor has loaded what is searched; None for one that had before.
        begin: when the job was begun (``time.time()``).
        deadline: when it has taken too long (``time.monotonic()``); loading does not count.
        ended: how many actors have ended at it.
        left: how many have left with their machine.
    """

    job: Job
    actor: Any
    loads: Any
    begin: float
    deadline: float
    ended: int = 0
    left: int = 0


class Ray(Executor):
    """A cluster of `Ray <https://docs.ray.io>`_ (``netwright[ray]``): each worker is an actor, which evaluates one
    candidate at a time. What is searched is put into the cluster once, and goes to each machine that evaluates.

    Workers join and leave with the machines of the cluster. A candidate whose worker has ended is evaluated once more
    by another; one whose machine has left, up to three times. Of the workers of one
    machine one at a time measures on a device.

    Ray's processes exchange pickles among each other: the cluster must be one's own.

    Args:
        workers: how many candidates are evaluated at once; as many as the cluster has room for by default.
        resource: what each worker takes one of, such as ``jetson``, where machines of the cluster were started with it:
            one worker for each device; empty for none.
        cpus: cores that each worker takes of its machine.
        timeout: seconds that evaluating one candidate may take; 0 or None for any time.
        address: of the cluster; by default that of ``RAY_ADDRESS``, or one that is started on this machine.

    Raises :class:`MissingExtra` without Ray.
    """

    isolates = True

    def __init__(
        self,
        workers: int | None = None,
        resource: str = "",
        cpus: float = 1.0,
        timeout: float | None = None,
        address: str = "",
    ) -> None:
        if not _is_installed():
            raise MissingExtra("ray", "ray", "evaluating in a cluster")
        if not 0 <= cpus < math.inf:
            raise CallError(f"cpus is how many cores a worker takes, 0 or more, not {cpus!r}")
        self.resource, self.cpus, self.timeout, self.address = resource, cpus, timeout, address
        self._most = MOST_WORKERS if workers is None else count_of(workers)
        self._seconds = seconds_of(timeout)
        self._room, self._looked = 0, -math.inf
        self._plan: EvaluationPlan | None = None
        self._told: Any = None
        self._waiting: list[_Running] = []
        self._idle: list[Any] = []
        self._running: dict[Any, _Running] = {}
        self._done: list[tuple[Job, Record]] = []
        self._answers = Answers()

    @property
    def workers(self) -> int:  # type: ignore[override]
        """As many as the cluster has room for now, of those that are wanted."""
        if time.monotonic() - self._looked > LOOK_S:
            there = self._ray.cluster_resources()
            needs = {"CPU": self.cpus, **({self.resource: 1.0} if self.resource else {})}
            room = min(int(there.get(name, 0.0) // each) for name, each in needs.items() if each)
            if not room and not self._room:
                what = f"offers {self.resource!r}" if self.resource else f"has {self.cpus:g} cores"
                raise CallError(f"no machine of the Ray cluster {what}: it has {_words(there)}")
            self._room, self._looked = room or self._room, time.monotonic()
        return min(self._room, self._most)

    def submit(self, job: Job) -> None:
        if self._plan is not job.plan:
            self._end_actors()
            self._plan, self._told = job.plan, self._put(job.plan)
        self._waiting.append(_Running(job, None, None, time.time(), math.inf))
        self._begin()

    def results(self, seconds: float | None = None) -> list[tuple[Job, Record]]:
        deadline = math.inf if seconds is None else time.monotonic() + seconds
        while self._running or self._waiting:
            self._take_back()
            self._begin()
            left = min([deadline, *(r.deadline for r in self._running.values())]) - time.monotonic()
            wait = min(max(left, 0.0), 0.0 if self._done else 1.0)
            ready, _ = self._ray.wait(list(self._running), num_returns=len(self._running), timeout=0.0)
            if not ready and not self._done:
                ready, _ = self._ray.wait(list(self._running), num_returns=1, timeout=wait)
            for each in ready:
                self._look(each)
            self._stop_late()
            if self._done or time.monotonic() >= deadline:
                break
            raise_lost()
        done, self._done = self._done, []
        return done

    def close(self) -> None:
        self._end_actors()
        self._plan = self._told = None
        self._done.clear()

    def _begin(self) -> None:
        """Have actors evaluate those that wait: idle ones, and as many more as there is room for."""
        while self._waiting and (self._idle or len(self._running) < self.workers):
            running = self._waiting.pop(0)
            actor, loads = (self._idle.pop(), None) if self._idle else self._actor()
            answer = actor.evaluate.remote(running.job.to_json())
            deadline = math.inf if loads else time.monotonic() + self._seconds
            self._running[answer] = replace(running, actor=actor, loads=loads, deadline=deadline)

    def _take_back(self) -> None:
        """Have jobs wait whose actors are still to be started while others are idle: the machine that they were to be
        started on may have left."""
        for answer, running in list(self._running.items()):
            if len(self._idle) <= len(self._waiting):
                return
            if running.loads is not None and not self._ray.wait([running.loads], timeout=0.0)[0]:
                self._ray.kill(self._running.pop(answer).actor)
                self._waiting.append(running)

    def _look(self, answer: Any) -> None:
        """Note what has become of a job that is done."""
        running = self._running.pop(answer)
        try:
            told = self._ray.get(answer)
        except self._ray.exceptions.RayActorError as error:
            self._lost(running, error)
            return
        except self._ray.exceptions.RayError as error:
            raise MachineFault(f"the Ray cluster failed ({format_error(error)[:200]}): run this again") from error
        self._idle.append(running.actor)
        record = self._answers.record(running.job, told)
        if machine := told.get("machine"):
            record = replace(record, provenance={**record.provenance, MACHINE: machine})
        self._done.append((running.job, record))

    def _lost(self, running: _Running, error: Exception) -> None:
        """Have a job whose actor has ended evaluated by another, or give it up."""
        self._ray.kill(running.actor)  # it may only be out of reach
        if "node has died" in str(error):
            running = replace(running, left=running.left + 1)
        else:
            running = replace(running, ended=running.ended + 1)
        if running.ended < 2 and running.left < ATTEMPTS:
            self._waiting.append(running)
            return
        why = "its machine left" if running.left >= ATTEMPTS else "the worker ended"
        reason = f"{why} each time while this was measured: it crashed, or was killed"
        self._done.append((running.job, failure(running.job, reason, running.begin)))

    def _stop_late(self) -> None:
        """End who takes too long."""
        now = time.monotonic()
        for answer, running in self._running.items():
            if running.deadline == math.inf > self._seconds and self._ray.wait([running.loads], timeout=0.0)[0]:
                self._running[answer] = replace(running, deadline=now + self._seconds)
        for answer, running in [item for item in self._running.items() if item[1].deadline <= now]:
            del self._running[answer]
            self._ray.kill(running.actor)
            self._done.append((running.job, failure(running.job, f"took more than {self._seconds:g} s", running.begin)))

    def _end_actors(self) -> None:
        for actor in (*self._idle, *(r.actor for r in self._running.values())):
            self._ray.kill(actor)
        for several in (self._waiting, self._idle, self._running):
            several.clear()

    def _actor(self) -> tuple[Any, Any]:
        """One more actor, which is started when the cluster has room for it, and what is there once it has loaded what
        is searched."""
        kind = self._ray.remote(Worker).options(
            num_cpus=self.cpus, resources={self.resource: 1.0} if self.resource else None, max_restarts=0,
            max_task_retries=0,
        )  # fmt: skip
        name = self._ray.get_runtime_context().get_job_id()
        actor = kind.remote([self._told], [path for path in sys.path if path], name)
        return actor, actor.load.remote()

    def _put(self, plan: EvaluationPlan) -> Any:
        try:
            return self._ray.put(plan)
        except Exception as error:  # whatever a person's network raises when it is pickled
            raise CallError(
                f"what is searched cannot be sent to other machines ({format_error(error)[:300]}): measurers and "
                "networks must be such that pickle takes them"
            ) from error

    @property
    def _ray(self) -> Any:
        """Ray, connected to the cluster."""
        ray = import_module("ray")
        if not ray.is_initialized():
            own = not (self.address or os.environ.get("RAY_ADDRESS"))
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            here = {"include_dashboard": False} if own else {}
            try:
                ray.init(address=self.address or None, logging_level="error", log_to_driver=False, **here)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise CallError(f"no Ray cluster can be reached: {format_error(error)[:200]}") from error
        return ray


def _is_installed() -> bool:
    try:
        return find_spec("ray") is not None
    except ValueError:  # it is known not to be
        return False


def _words(resources: dict[str, float]) -> str:
    own = {name: n for name, n in resources.items() if ":" not in name and "memory" not in name}
    return ", ".join(f"{name} {n:g}" for name, n in sorted(own.items())) or "nothing"


class Worker:
    """What evaluates, in a process of the cluster's.

    Args:
        told: the plan, where it lies in the cluster, in a list.
        paths: where the search finds modules, which are looked for here too.
        name: of the search.
    """

    def __init__(self, told: list[Any], paths: list[str], name: str) -> None:
        sys.path += [path for path in paths if path not in sys.path and Path(path).exists()]
        self._told, self._name, self._fault = told[0], name, ""
        self._plan: EvaluationPlan
        self._turns: Turns = NOBODY_ELSE
        self._machine = ""

    def load(self) -> None:
        """Have what is searched here."""
        try:
            self._plan = import_module("ray").get(self._told)
            self._turns, self._machine = self._own_turns(self._plan), kind_here(self._plan.measurers)
        except Exception as error:  # such as a module that is not installed here
            fault = f"a worker on {os.uname().nodename} cannot load what is searched ({format_error(error)[:300]})"
            self._fault = f"{fault}: install there what the search's machine has, and run this again"

    def evaluate(self, told: dict[str, Any]) -> dict[str, Any]:
        """The answer to a job; see :func:`netwright.study.executors.isolated.answer_of`."""
        if self._fault:
            return {"fault": self._fault, "warnings": []}
        return {**answer_of(Job.from_json(self._plan, told), self._turns), "machine": self._machine}

    def _own_turns(self, plan: EvaluationPlan) -> Turns:
        """The turns of those on this machine, who share a folder."""
        places = [m.place for m in plan.measurers if m.place is not None]
        if not places:
            return NOBODY_ELSE
        folder = Path(tempfile.gettempdir()) / f"netwright-{os.getuid()}-{self._name}"
        folder.mkdir(mode=0o700, exist_ok=True)
        turns = SharedTurns(folder, max(place.cores for place in places))
        turns.enter()
        return turns
