"""From a candidate to its record: a function of its arguments alone, which another process can be given."""

from __future__ import annotations

import errno
import os
import re
import signal
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..core.candidate import Candidate
from ..core.errors import DeviceLost, MachineFault, MeasureError, NetwrightError, did_you_mean, format_error
from ..core.faults import FIXES, fix_of, machine_fault, no_memory
from ..core.interruption import interruption
from ..core.limits import Limit, broken, explain
from ..core.metric import Measurement, Metric
from ..core.precision import Rounding
from ..core.record import Record, Status
from ..measure.base import EvaluationContext, ManyCandidates, Measurer, Searchable
from ..strategies.base import of_each
from .entries import choices_of
from .failures import BY, MISSING, failed_by
from .racing import Rivals
from .stores.base import body_text
from .turns import NOBODY_ELSE, Turns

NO_MEMORY = "no_memory"
"""The entry of a failed record's provenance that says what to do, where memory ran out."""

GOES_ON = "the study is kept, and the same search goes on from here"
"""What is so after a fault of the machine."""

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Signals by which a process is asked to end, or told that it soon will be."""


HIDDEN = {
    **{re.escape(os.strerror(n)): n for n in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE)},
    r"inline_container\.cc.*unexpected pos": errno.ENOSPC,
    "PytorchStreamWriter failed writing": errno.ENOSPC,
    "basic_ios::clear: iostream error": errno.ENOSPC,
}
"""Faults of the machine as libraries speak of them that raise other errors (the last three when the disk is full): a
pattern of words, and the number of the error."""


@dataclass(frozen=True)
class EvaluationPlan:
    """What is found of every candidate of a study, and by what.

    Args:
        net: where the candidates come from.
        measurers: each asked once for a candidate.
        objectives: what a record needs, in order.
        limits: which a candidate that breaks one of them is not measured beyond.
        calibration: see :class:`netwright.measure.base.EvaluationContext`.
        racing: whether measurers that can are stopped early.
        rounding: see :class:`netwright.measure.base.EvaluationContext`.
    """

    net: Searchable
    measurers: tuple[Measurer, ...]
    objectives: tuple[Metric, ...]
    limits: tuple[Limit, ...] = ()
    calibration: Iterable[Any] | None = None
    racing: bool = False
    rounding: Rounding = "nearest"

    @cached_property
    def needed(self) -> frozenset[str]:
        """The names of the metrics that are asked for."""
        return frozenset(m.name for m in self.objectives) | self.limited

    @cached_property
    def limited(self) -> frozenset[str]:
        """The names of the metrics that limits are on."""
        return frozenset(limit.metric for limit in self.limits)

    @cached_property
    def exact(self) -> tuple[Measurer, ...]:
        """The measurers that only compute."""
        return tuple(m for m in self.measurers if m.metrics and all(metric.exact for metric in m.metrics))

    @cached_property
    def order(self) -> tuple[Measurer, ...]:
        """The measurers as they are asked: exact ones first, then what a limit may rule out, so that a network that
        breaks a limit costs no more. What may be stopped comes last, since only who is known in all other objectives
        is known to be dominated."""

        def last(m: Measurer) -> tuple[bool, bool, bool]:
            return m not in self.exact, self.limited.isdisjoint(x.name for x in m.metrics), self.racing and m.races

        return tuple(sorted(self.measurers, key=last))

    @cached_property
    def judge(self) -> Measurer | None:
        """The measurer of how well a network does, where there is one."""
        return next((m for m in self.measurers if m.depends_on_weights), None)

    @cached_property
    def statistics_of_largest(self) -> str | None:
        """Which running statistics the largest network does better with, by the judge."""
        context = EvaluationContext(self.net, self.net.space.largest, self.calibration, judge=self.judge)
        _ = context.module
        return context.statistics

    @cached_property
    def whole(self) -> EvaluationPlan:
        """The same, but that every measurer is asked, and none is stopped early."""
        return replace(self, limits=(), racing=False)

    @cached_property
    def code(self) -> str:
        """A digest of what decides whether measuring fails, as far as it can be seen."""
        made = getattr(self.net, "code", type(self.net))
        return failed_by([made, *(m.code for m in self.measurers)], self.needed)

    def breaks(self, found: Mapping[str, Measurement]) -> bool:
        """Whether what was found breaks a limit."""
        return bool(broken(self.limits, {name: m.value for name, m in found.items()}))

    def exact_values(
        self, candidates: Sequence[Candidate], known: dict[Candidate, dict[str, float]]
    ) -> dict[str, np.ndarray]:
        """The exact metrics of candidates, each of shape (candidates,).

        Args:
            candidates: which ones.
            known: what was measured candidate by candidate before; what is measured now is added.
        """
        many, found, alone = ManyCandidates(self.net, candidates), dict[str, np.ndarray](), list[Measurer]()
        for measurer in self.exact:
            values = measurer.compute(many)
            if values is None:
                alone.append(measurer)
            else:
                found.update(values)
        if alone:
            found |= of_each(lambda candidate: self._one(alone, candidate, known))(candidates)
        order = [metric.name for measurer in self.exact for metric in measurer.metrics if metric.name in found]
        return {name: np.asarray(found[name], dtype=np.float64) for name in order}

    def _one(
        self, measurers: Iterable[Measurer], candidate: Candidate, known: dict[Candidate, dict[str, float]]
    ) -> dict[str, float]:
        if candidate not in known:
            context = EvaluationContext(self.net, candidate)
            known[candidate] = {n: m.value for each in measurers for n, m in each.measure(context).items()}
        return known[candidate]


@dataclass(frozen=True, eq=False)
class Job:
    """One candidate that is to be evaluated.

    Args:
        plan: the same for all candidates of a study.
        candidate: which one.
        provenance: what the record says of where it comes from; JSON values.
        rivals: what it races against.
        predictions: measurements that are not taken, by metric name: what they are predicted to be.
    """

    plan: EvaluationPlan
    candidate: Candidate
    provenance: Mapping[str, Any] = field(default_factory=dict)
    rivals: Rivals | None = None
    predictions: Mapping[str, Measurement] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """All but the plan, as JSON values: what another process that has the plan is told."""
        race = self.rivals and {
            "points": self.rivals.points.tolist(), "totals": dict(self.rivals.totals),
            "confidence": self.rivals.confidence,
        }  # fmt: skip
        told = {name: m.to_json() for name, m in self.predictions.items()}
        about = dict(self.provenance)
        return {"candidate": dict(self.candidate), "provenance": about, "rivals": race, "predictions": told}

    @classmethod
    def from_json(cls, plan: EvaluationPlan, told: Mapping[str, Any]) -> Job:
        """The job that this is said of."""
        rivals, race = None, told["rivals"]
        if race:
            rivals = Rivals(plan.objectives, np.array(race["points"]), race["totals"], race["confidence"])
        predictions = {name: Measurement.from_json(m) for name, m in told["predictions"].items()}
        candidate = plan.net.space.candidate(choices_of(told["candidate"]))
        return cls(plan, candidate, told["provenance"], rivals, predictions)


def evaluate(job: Job, turns: Turns = NOBODY_ELSE) -> Record:
    """The record of a job's candidate.

    Args:
        job: what is to be evaluated.
        turns: in which measurers are asked, where others evaluate on this machine as well.

    What a network or a measurer raises makes the record ``failed``, with the reason; where memory ran out, which need
    not be the network's fault, its provenance says so (:data:`NO_MEMORY`). A fault of the machine, such as a
    full disk, raises :class:`MachineFault`: no network is to blame.
    """
    begin, reason = time.time(), ""
    plan, candidate = job.plan, job.candidate
    about, found = dict(job.provenance), dict[str, Measurement]()
    race = job.rivals.race(found) if job.rivals else None  # it looks at what is found by the time that it is asked
    context = EvaluationContext(
        plan.net, candidate, plan.calibration, race, plan.judge, lambda: plan.statistics_of_largest, plan.rounding
    )
    try:
        for measurer in plan.order:
            told = {m.name: job.predictions[m.name] for m in measurer.metrics if m.name in job.predictions}
            values = told or _measured(measurer, context, about, turns)
            # What is exact comes first and stays, whatever a later function says of it.
            found.update({name: m for name, m in values.items() if name not in found})
            if plan.breaks(found):
                break
        else:
            _check_complete(plan, found, about)
    except Exception as error:  # whatever a person's network raises: the search goes on
        if stop := interruption(error):  # such as a loader's workers, which were ended too
            raise stop from error
        raise_fault(error)
        about |= {"device_lost": True} if isinstance(error, DeviceLost) else {}
        about[BY] = plan.code
        reason = format_error(error) or type(error).__name__
        if fix := no_memory(error):
            about[NO_MEMORY] = fix
            reason = reason if "memory" in reason else f"out of memory: {reason}"
    about |= {"statistics": context.statistics} if context.statistics else {}
    about |= {"time": round(begin, 3), "seconds": round(time.time() - begin, 3)}
    status: Status = "failed" if reason else "infeasible" if plan.breaks(found) else "ok"
    return Record(candidate, found, status, reason or explain(plan.limits, found), plan.objectives, about)


def _ask(measurer: Measurer, context: EvaluationContext, turns: Turns) -> Mapping[str, Measurement]:
    """What a measurer says of a network. Code that would end the process raises :class:`MeasureError`."""
    try:
        if measurer.place is not None:
            with turns.beside():
                measurer.prepare(context)
        with turns.of(measurer):
            found = measurer.measure(context)
            rest = turns.rest(measurer)
            if rest and any("warning" in m.details for m in found.values()):  # it may be others of us who disturb it
                with rest:
                    found = measurer.measure(context)
            return found
    except (SystemExit, GeneratorExit) as error:
        if _is_asked_to_end(error):
            raise
        raise MeasureError(f"the code that measures it ends the process ({format_error(error)})") from error


def _is_asked_to_end(error: BaseException) -> bool:
    """Whether an exception was raised by a handler of a signal, at whatever was running then."""
    handlers = {getattr(signal.getsignal(number), "__code__", None) for number in ENDING} - {None}
    return any(frame.f_code in handlers for frame, _ in traceback.walk_tb(error.__traceback__))


def failure(job: Job, reason: str, begin: float | None = None, **more: Any) -> Record:
    """The record of a candidate of which nothing is known but why.

    Args:
        job: of the candidate.
        reason: why it was not measured.
        begin: when that began (``time.time()``); None: it was not tried.
        more: said in the record's provenance.
    """
    now = time.time()
    begin, plan = now if begin is None else begin, job.plan
    about = {**job.provenance, **more, BY: plan.code, "time": round(begin, 3), "seconds": round(now - begin, 3)}
    return Record(job.candidate, {}, "failed", reason, plan.objectives, about)


def raise_fault(error: Exception) -> None:
    """Raise :class:`MachineFault` where an error is one, or came of a fault of the machine."""
    if isinstance(error, MachineFault):
        raise error
    if why := _fault(error):
        raise MachineFault(f"{why}; {GOES_ON}") from error


def _fault(error: Exception) -> str:
    """What to do about the fault of the machine that an error is, came of or speaks of; empty where there is none."""
    if fault := machine_fault(error):
        return fix_of(fault)
    if isinstance(error, NetwrightError):  # which says what it means
        return ""
    return next((FIXES[number] for words, number in HIDDEN.items() if re.search(words, str(error))), "")


def _measured(
    measurer: Measurer, context: EvaluationContext, about: dict[str, Any], turns: Turns
) -> Mapping[str, Measurement]:
    """What a measurer finds; what else is known of that is added to ``about``."""
    since, waited = measurer.clock(), turns.waited
    values = _ask(measurer, context, turns)
    name = type(measurer).__name__
    if not isinstance(values, Mapping) or not all(isinstance(m, Measurement) for m in values.values()):
        raise MeasureError(f"{name}.measure() gives a mapping of metric names to nw.Measurement, not {values!r:.80}")
    for metric, m in values.items():
        if m.best_case is not None and not (context.race and context.race.lost(metric, m.best_case)):
            raise MeasureError(
                f"{name}.measure() left {metric!r} {m.kind}, though no record dominates the best that it may be: "
                "measure it whole where context.race does not say that it is lost"
            )
    notes = dict(measurer.provenance())
    body_text({"measurements": {key: m.to_json() for key, m in values.items()}, "provenance": notes})
    about.update(notes)
    if measurer.on_device:
        about["device_seconds"] = round(measurer.clock() - since - (turns.waited - waited), 3)
    return values


def _check_complete(plan: EvaluationPlan, found: Mapping[str, Measurement], about: dict[str, Any]) -> None:
    """Raise where a metric that is asked for was not found."""
    missing = [m.name for m in plan.objectives if m.name not in found]
    missing += sorted(plan.limited - found.keys() - {*missing})
    if missing:
        about[MISSING] = missing[0]
        raise MeasureError(f"{missing[0]!r} was not measured ({did_you_mean(missing[0], found)})")
