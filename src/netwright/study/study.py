"""The study: asks a strategy, measures, journals, resumes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ..core.candidate import Candidate, digest
from ..core.errors import (
    CallError,
    DeviceLost,
    InfeasibleConstraints,
    MeasureError,
    NetwrightError,
    SpaceError,
    StoreError,
    did_you_mean,
    format_error,
)
from ..core.front import Front, losses, nondominated
from ..core.limits import Limit, apart, broken, check_together, explain, parse_limit
from ..core.metric import Measurement, Metric
from ..core.record import Record
from ..core.space import Space
from ..measure.base import EvaluationContext, Measurer, Race, Searchable
from ..strategies import STRATEGIES
from ..strategies.base import Problem, Strategy, draw_new
from .asked import asked_for, listed
from .failures import BY, MISSING, check_retry, commonest, failed_by, never_measured, unmeasured
from .header import as_json, choices_of, other_study
from .journal import read_journal
from .stores import open_store
from .stores.base import Store

DEAR_S = 5.0
"""Seconds on a device from which a network is only measured there where its figures cannot be foretold."""
UNSURE = 0.05
"""Half the 95 % interval, relative to the value, up to which a figure is foretold."""


@dataclass(frozen=True)
class Step:
    """A record that was just made, and how far the study is."""

    record: Record
    done: int
    evaluations: int


class Study:
    """Space, objectives, limits and journal: everything that is known of a search.

    Opening a study that exists continues it: what was measured is read back, what was asked for but not measured
    is measured first, and the strategy proposes what it would have proposed.

    Args:
        store: a :class:`Store`, or the path of a SQLite file.
        net: what is searched: anything with ``space`` and ``extract``.
        objectives: measurers, each an objective by its first metric; or metrics that one in ``record`` finds, also by
            their names alone.
        limits: such as ``"latency <= 5 ms"``, on any metric of ``objectives`` or ``record``. They may differ from
            the last time: every record is judged by the limits of now.
        record: further measurers, whose metrics are stored beside the objectives.
        calibration: batches for the normalisation statistics of each candidate, as the network was trained on
            (augmented); what they draw is the same for all. The largest keeps its own where these are better.
        seed: of everything random.
        warm: records of another study of the same space (another device, dataset or super-network), for strategies to
            start from. They are never part of the front, and are looked at for the objectives' and limits' names.
        racing: a confidence below 1, such as 0.95: measurers that can (:class:`netwright.Accuracy`) judge a candidate
            on growing parts of their data, and stop once a record that was measured whole dominates it with this
            confidence. 0 measures all candidates whole. What a limit is on is always measured whole. A measurement
            that was stopped says so: its ``n`` is less than ``of``, and ``best_case`` is the end of its interval; it is
            never on the front, and counts as not measured as soon as other limits leave it undominated.
        key: what else must be the same for the journal to be continued, such as the weights; JSON values.
    """

    def __init__(
        self,
        store: Store | str | Path,
        net: Searchable,
        *,
        objectives: Sequence[Measurer | Metric | str],
        limits: Iterable[str | Limit] = (),
        record: Sequence[Measurer] = (),
        calibration: Iterable[Any] | None = None,
        seed: int = 0,
        warm: Iterable[Record] = (),
        racing: float = 0.0,
        key: Mapping[str, Any] | None = None,
    ) -> None:
        if not objectives:
            raise NetwrightError("a study needs at least one objective, for example objectives=[nw.Accuracy(loader)]")
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
            raise CallError(f"a seed is a whole number of 0 or more, not {seed}")
        if not 0 <= racing < 1:
            raise NetwrightError(f"racing is a confidence below 1, such as 0.95, or 0 for none, not {racing}")
        if not isinstance(getattr(net, "space", None), Space):
            raise CallError(
                f"a study searches what has a space and extract(), not a {type(net).__name__}; of a torch module "
                "nw.wrap(module, example_inputs) makes a super-network"
            )
        objectives = asked_for(objectives, record)
        self.store = open_store(store)
        self.net, self.calibration = net, calibration
        asked = [m for m in objectives if isinstance(m, Measurer)]
        self.measurers: tuple[Measurer, ...] = tuple(dict.fromkeys([*asked, *record]))
        self.objectives: tuple[Metric, ...] = tuple(m if isinstance(m, Metric) else m.metrics[0] for m in objectives)
        if len({m.name for m in self.objectives}) < len(self.objectives):
            raise NetwrightError(
                "two objectives have one name; a study is of one target, and each metric of one measurer"
            )
        self.metrics: tuple[Metric, ...] = tuple(
            {m.name: m for m in (*self.objectives, *(x for ms in self.measurers for x in ms.metrics))}.values()
        )
        self.limits = tuple(x if isinstance(x, Limit) else parse_limit(x, self.metrics) for x in listed(limits))
        check_together(self.limits)
        self._exact = [m for m in self.measurers if m.metrics and all(metric.exact for metric in m.metrics)]
        self._exact_values: dict[Candidate, dict[str, float]] = {}
        self.seed, self.racing = int(seed), racing
        self.warm = tuple(self._advisor(record) for record in warm)
        self._header = as_json(
            {
                "space": net.space.fingerprint,
                "choices": choices_of(net.space),
                "objectives": [[m.name, m.unit, m.direction, m.exact] for m in self.objectives],
                "seed": int(seed),
                **({"warm": digest([[r.candidate.key, r.values] for r in self.warm])} if self.warm else {}),
                **(key or {}),
            }
        )
        self._replay()
        self._check_reachable()
        self._note_limits()

    # -- what is known -----------------------------------------------------------------------------------------

    @property
    def records(self) -> list[Record]:
        """Everything known, in the order of measuring, judged by the limits of now."""
        return self.journal.records

    def front(self) -> Front:
        """The non-dominated feasible records, of those that were measured whole."""
        return self.journal.front

    @property
    def problem(self) -> Problem:
        """The study as a strategy sees it."""
        return Problem(self.net.space, self.objectives, self.limits, self._exact_of, self.seed, warm_start=self.warm)

    def nearest(self) -> Record | None:
        """The record that is least beyond the limits, of those that a limit was measured for."""
        limited = {limit.metric for limit in self.limits}
        known = [r for r in self.records if r.status != "failed" and limited & r.values.keys()]
        return min(known, key=lambda r: self.problem.violation(r.values), default=None)

    def probe(self) -> None:
        """Measure the smallest network on the device, and against limits that do not depend on training, before
        training is paid for.

        A network that breaks one is journalled; one that breaks it by more than a quarter raises
        :class:`InfeasibleConstraints`, since larger networks will not keep it either.
        """
        limited = {limit.metric for limit in self.limits}
        smallest = self.net.space.smallest
        known = self.journal.found.get(smallest)
        found = dict(known.measurements) if known else {}
        for measurer in self.measurers:
            own = limited & {m.name for m in measurer.metrics}
            if measurer.depends_on_weights or measurer in self._exact or not (own or measurer.on_device):
                continue
            new = not {m.name for m in measurer.metrics} & found.keys() or not own <= found.keys()
            if new:
                found.update(measurer.measure(EvaluationContext(self.net, smallest, self.calibration)))
            if missing := sorted(own - found.keys()):
                raise MeasureError(f"{missing[0]!r} cannot be measured here")
            values = {name: found[name].value for name in own}
            if broken(self.limits, values):
                if new:
                    about = {"strategy": "probe", "seed": self.seed, "time": round(time.time(), 3)}
                    about |= measurer.provenance()
                    why = explain(self.limits, found)
                    self._tell(Record(smallest, found, "infeasible", why, self.objectives, about))
                if self.problem.violation(values) > 0.25 and not any(r.status == "ok" for r in self.records):
                    raise InfeasibleConstraints(self._unreachable())
                return

    # -- running -----------------------------------------------------------------------------------------------

    def run(
        self,
        strategy: Strategy | str,
        evaluations: int,
        watch: Callable[[Step], None] | None = None,
        *,
        retry: str = "",
    ) -> list[Record]:
        """Ask, measure and journal until the study holds ``evaluations`` records, or the space is exhausted.

        What could not be measured is measured again first where the code that measures it or the metrics that are
        asked for have changed since, and where everything failed; with ``retry="failed"`` all that failed is.

        Raises :class:`InfeasibleConstraints` when limits were given and no record keeps them, and :class:`MeasureError`
        when nothing could be measured, or nothing measures what is asked for; the study keeps its records. A measurer
        that cannot measure anything here raises before the first network, and so does a study that another process is
        running.
        """
        check_retry(retry)
        strategy = STRATEGIES.make(strategy)
        if isinstance(evaluations, bool) or not isinstance(evaluations, int | np.integer):
            raise CallError(f"evaluations is a whole number of networks, not {evaluations!r}")
        with self.store.held():
            self._replay()  # another process may have gone on with it since it was opened
            self._note_limits()
            if retry:
                self._again(r for r in self.records if r.status == "failed")
            if self._left(evaluations):
                self._require()
            return self._run(strategy, evaluations, watch)

    def _run(self, strategy: Strategy, evaluations: int, watch: Callable[[Step], None] | None) -> list[Record]:
        lost = False
        self._check_measured()
        while left := self._left(evaluations):
            if not self.journal.asked:
                self._ask(strategy, min(strategy.batch, left))
            if not self.journal.asked:
                break
            for candidate, provenance in list(self.journal.asked.items())[:left]:
                self._tell(self._measure(candidate, provenance, strategy))
                if watch:
                    watch(Step(self.records[-1], len(self._known()), evaluations))
                lost = self._lost_again(lost)
                self._check_measured()
        # What was foretold and would be on the front is measured in the end: nothing on the front is foretold.
        while unsure := self._unsure():
            self._tell(self._measure(unsure[0].candidate, unsure[0].provenance))
            if watch:
                watch(Step(self.records[-1], evaluations - len(unsure) + 1, evaluations))
            lost = self._lost_again(lost)
        records = self.records
        if records and all(r.status == "failed" for r in records):
            self._nothing_measured(f"none of {len(records)} networks could be measured: {commonest(records)}")
        if self.limits and not any(r.status == "ok" for r in records):
            raise InfeasibleConstraints(self._unreachable())
        return records

    def _left(self, evaluations: int) -> int:
        """How many networks are to be measured."""
        return max(evaluations - len(self._known()), len(self.journal.again), 0)

    def _require(self) -> None:
        """Raise where something cannot be measured here, or nothing measures it."""
        for measurer in self.measurers:
            measurer.require()
        found = [metric.name for measurer in self.measurers for metric in measurer.metrics]
        for kind, names in (("objective", self.objectives), ("limit", self.limits)):
            for name in (x.name if isinstance(x, Metric) else x.metric for x in names):
                if name not in found:
                    raise MeasureError(f"nothing measures {name!r}, which is {kind}: {unmeasured(name, found)}")

    def _check_measured(self) -> None:
        """Raise where a metric was among the figures of no network so far: the others would all fail."""
        known = self._known()
        if never_measured(known):
            self._nothing_measured(f"{known[-1].reason}, in none of {len(known)} networks")

    def _nothing_measured(self, why: str) -> NoReturn:
        """Raise the reason for which nothing was measured, after a note that all is to be measured again."""
        self._again(self.records)
        error = InfeasibleConstraints if self.limits else MeasureError
        raise error(f"{why}; mend it and run this again: the study is kept, and what failed is measured again")

    def _again(self, records: Iterable[Record]) -> None:
        """Journal that records are to be measured again."""
        if candidates := [r.candidate for r in records if r.candidate not in self.journal.again]:
            self.store.append("retry", {"candidates": [dict(c) for c in candidates]})
            self.journal.again.update(candidates)

    def _known(self) -> list[Record]:
        """The records that are whole under the limits of now: what was cut short by limits that have since been
        loosened, lacks what is limited now, or was stopped and is no longer dominated, is measured again. What was
        foretold counts as known."""
        lost = self._lost()
        return [r for r in self.records if self._settled(r) or self._told(r) or r.candidate in lost]

    def _unsure(self) -> list[Record]:
        """The records of which something was foretold, and that are on the front if it comes true."""
        told = [r for r in self.records if self._told(r) and not self._settled(r) and not broken(self.limits, r.values)]
        if not told:
            return []
        points = losses([*self.front(), *told], self.objectives)
        best = nondominated(points)[-len(told) :]
        return [r for r, first in zip(told, best, strict=True) if first]

    def _told(self, record: Record) -> bool:
        """Whether all that is not measured was foretold, and that is all that is asked for, or breaks a limit."""
        if record.status == "failed" or not _foretold(record):
            return False
        return bool(broken(self.limits, record.values)) or self._needed <= record.values.keys()

    def _settled(self, record: Record) -> bool:
        """Whether a record stands, whatever becomes of the others."""
        if record.status == "failed":
            changed = record.provenance.get(BY, self._failed_by) != self._failed_by
            return not (changed or _lost_device(record) or record.candidate in self.journal.again)
        measured = {name: record.values[name] for name in record.values.keys() - _stopped(record)}
        return bool(broken(self.limits, measured)) or self._needed <= measured.keys()

    @property
    def _needed(self) -> set[str]:
        """The metrics that are asked for."""
        return {m.name for m in self.objectives} | {limit.metric for limit in self.limits}

    @cached_property
    def _failed_by(self) -> str:
        made = getattr(self.net, "code", type(self.net))
        return failed_by([made, *(m.code for m in self.measurers)], self._needed)

    def _lost(self) -> set[Candidate]:
        """Who was stopped and is dominated even with the best values that it may have."""
        partly = [(r, {**r.values, **best}) for r in self.records if (best := _stopped(r))]
        if not partly:
            return set()
        rivals = losses(self.front(), self.objectives)
        needed = {m.name for m in self.objectives}
        return {r.candidate for r, best in partly if needed <= best.keys() and self._dominated(best, rivals)}

    def _ask(self, strategy: Strategy, n: int) -> None:
        known = self._known()
        settled = {r.candidate for r in known}
        # Who was stopped and is no longer dominated may be on the front: first of all it is measured whole. So is who
        # was on its way when the device was lost, and who failed and is to be measured again.
        again = [
            r.candidate for r in self.records if (_stopped(r) or r.status == "failed") and r.candidate not in settled
        ]
        candidates = again[:n] or strategy.ask(self.problem, known, n)
        if not candidates:
            return
        # Journalled before it is measured: what a batch held does not depend on when the study was killed.
        provenance = {"strategy": STRATEGIES.text(strategy), "seed": self.seed}
        self.store.append("ask", {"candidates": [dict(c) for c in candidates], "provenance": provenance})
        self.journal.asked = dict.fromkeys(candidates, provenance)

    def _tell(self, record: Record) -> None:
        self.store.append("record", record.to_json())
        self.journal.remember(record)

    def _measure(self, candidate: Candidate, provenance: Mapping[str, Any], strategy: Strategy | None = None) -> Record:
        """The record of a candidate. With a strategy, what takes long and is foretold narrowly is not measured."""
        begin = time.time()
        found: dict[str, Measurement] = {}
        race = self._race(found) if self.racing else None
        judge = next((m for m in self.measurers if m.depends_on_weights), None)
        context = EvaluationContext(self.net, candidate, self.calibration, race, judge)
        reason = ""
        about = dict(provenance)
        limited = {limit.metric for limit in self.limits}
        # Exact metrics first, then what a limit may rule out: a network that breaks a limit costs no more. What may be
        # stopped comes last, since only who is known in all other objectives is known to be dominated.
        order = sorted(
            self.measurers,
            key=lambda m: (
                m not in self._exact,
                not any(x.name in limited for x in m.metrics),
                self.racing > 0 and m.races,
            ),
        )
        try:
            for measurer in order:
                values = self._foretold(measurer, candidate, strategy) if strategy and measurer.on_device else {}
                if not values:
                    since = time.perf_counter()
                    values = measurer.measure(context)
                    about.update(measurer.provenance())
                    if measurer.on_device:
                        about["device_seconds"] = round(time.perf_counter() - since, 3)
                # What is exact comes first and stays, whatever a later function says of it.
                found.update({k: v for k, v in values.items() if k not in found})
                if self._breaks(found):
                    break
            else:
                missing = [m.name for m in self.objectives if m.name not in found]
                missing += sorted(limited - found.keys() - {*missing})
                if missing:
                    about[MISSING] = missing[0]
                    raise MeasureError(f"{missing[0]!r} was not measured ({did_you_mean(missing[0], found)})")
        except Exception as error:  # whatever a person's network raises: the search goes on
            about |= {"device_lost": True} if isinstance(error, DeviceLost) else {}
            about[BY] = self._failed_by
            reason = format_error(error) or type(error).__name__
        about |= {"statistics": context.statistics} if context.statistics else {}
        about |= {"time": round(begin, 3), "seconds": round(time.time() - begin, 3)}
        status = "failed" if reason else "infeasible" if self._breaks(found) else "ok"
        reason = reason or explain(self.limits, found)
        return Record(candidate, found, status, reason, self.objectives, about)  # type: ignore[arg-type]

    def _lost_again(self, before: bool) -> bool:
        """Whether the device was lost in the last measurement. Raises where it was in the one before too: networks are
        not to blame, and would all fail."""
        last = self.records[-1]
        if before and _lost_device(last):
            raise DeviceLost(f"{last.reason}; the study is kept, and goes on when the device is back")
        return _lost_device(last)

    def _foretold(self, measurer: Measurer, candidate: Candidate, strategy: Strategy) -> Mapping[str, Measurement]:
        """What the strategy foretells of a measurer's metrics, where measuring takes long; empty where it is cheap,
        something is not known well enough, or a limit lies within what it may be."""
        records = self.records
        took = [r.provenance["device_seconds"] for r in records if "device_seconds" in r.provenance]
        if not took or float(np.median(took[-20:])) < DEAR_S:
            return {}
        own = {m.name: m for m in measurer.metrics if m.name in self._needed}
        told = strategy.predict_metrics(self.problem, records, candidate, list(own))
        found: dict[str, Measurement] = {}
        for name, metric in own.items():
            value, reach = told.get(name, (0.0, float("inf")))
            ends = value - reach, value + reach
            split = [
                x for x in self.limits if x.metric == name and bool(x.violation(ends[0])) != bool(x.violation(ends[1]))
            ]
            if reach > UNSURE * value or split:
                return {}
            best = ends[0] if metric.direction == "min" else ends[1]
            by = {"predictor": STRATEGIES.text(strategy)}
            found[name] = Measurement(value, metric.unit, reach, len(took), "predicted", by, best_case=best)
        return found

    # -- racing ------------------------------------------------------------------------------------------------

    def _race(self, found: Mapping[str, Measurement]) -> Race | None:
        """What a candidate races against, of which ``found`` will be known: the front as it is now."""
        rivals = self.front()
        if not rivals:
            return None
        points = losses(rivals, self.objectives)
        limited = {limit.metric for limit in self.limits}
        raced = [m.name for m in self.objectives if not m.exact and m.name not in limited]

        def lost(name: str, best: float) -> bool:
            known = {k: m.value if m.best_case is None else m.best_case for k, m in found.items()}
            values = known | {name: best}
            return all(m.name in values for m in self.objectives) and self._dominated(values, points)

        return Race(self.racing, {name: max(r.measurements[name].n for r in rivals) for name in raced}, lost)

    def _dominated(self, values: Mapping[str, float], points: np.ndarray) -> bool:
        own = np.array([m.loss(values[m.name]) for m in self.objectives])
        return bool(np.any(np.all(points <= own, axis=1) & np.any(points < own, axis=1)))

    def _breaks(self, found: Mapping[str, Measurement]) -> bool:
        return bool(broken(self.limits, {k: v.value for k, v in found.items()}))

    def _exact_of(self, candidate: Candidate) -> Mapping[str, float]:
        known = self._exact_values.get(candidate)
        if known is None:
            context = EvaluationContext(self.net, candidate)
            known = {name: m.value for e in self._exact for name, m in e.measure(context).items()}
            self._exact_values[candidate] = known
        return known

    # -- opening -----------------------------------------------------------------------------------------------

    def _advisor(self, record: Record) -> Record:
        """A record of another study, if it is one of this space."""
        if not isinstance(record, Record):
            raise CallError(f"warm= holds the records of another study, not a {type(record).__name__}")
        try:
            self.net.space.candidate(record.candidate)
        except SpaceError as error:
            raise NetwrightError(f"warm= holds records of another space: {error}") from None
        return record

    def _replay(self) -> None:
        """Read the journal, or begin it. Raises :class:`StoreError` where it is of another study."""
        self.store.begin("study", self._header)
        header = next((body for kind, body in self.store.read() if kind == "study"), {})
        try:  # before its candidates are read, which another space has not
            differs = other_study(header, self._header)
        except (AttributeError, LookupError, TypeError):
            differs = "its first entry cannot be read"
        if differs:
            raise StoreError(f"{self._where()} holds another study: {differs}; use another output directory")
        self.journal = read_journal(self.store, self.net.space.candidate)

    def _note_limits(self) -> None:
        if self.journal.limits != self.limits:
            self.store.append("limits", {"limits": [[x.metric, x.op, x.bound, x.unit] for x in self.limits]})
            self.journal.limits = self.limits

    def _where(self) -> str:
        return str(getattr(self.store, "path", "the store"))

    def _check_reachable(self) -> None:
        """Limits on exact metrics that no candidate seems to keep are said before anything is measured."""
        exact = {m.name for e in self._exact for m in e.metrics}
        limits = tuple(limit for limit in self.limits if limit.metric in exact)
        problem = replace(self.problem, limits=limits)
        if not limits or problem.allows(self.net.space.smallest):
            return
        rng = np.random.default_rng(self.seed)
        tried = [self.net.space.smallest, self.net.space.largest, *(self.net.space.sample(rng) for _ in range(500))]
        if any(problem.allows(c) for c in tried) or draw_new(problem, [], 1, rng, lambda: self.net.space.sample(rng)):
            return
        values = self._exact_of(min(tried, key=lambda c: problem.violation(self._exact_of(c))))
        raise InfeasibleConstraints(_nearest_sentence(limits, values))

    def _unreachable(self) -> str:
        record = self.nearest()
        if record is None:
            return "no candidate could be measured"
        return (
            _nearest_sentence([x for x in self.limits if x.metric in record.values], record.values)
            + f" (network {record.id}, {len(self.journal.found)} measured; the study is kept)"
        )


def _stopped(record: Record) -> dict[str, float]:
    """What was stopped before it was measured whole: metric name to the best value that it may have."""
    return {name: m.best_case for name, m in record.measurements.items() if m.best_case is not None}


def _lost_device(record: Record) -> bool:
    return bool(record.provenance.get("device_lost"))


def _foretold(record: Record) -> bool:
    """Whether something was foretold, and all else is measured."""
    stopped = [m for m in record.measurements.values() if not m.is_complete]
    return bool(stopped) and all(m.kind == "predicted" for m in stopped)


def _nearest_sentence(limits: Sequence[Limit], values: Mapping[str, float]) -> str:
    texts = [(limit, *apart(values[limit.metric], limit)) for limit in limits]
    wanted = " and ".join(f"{limit.metric} {limit.op} {bound}" for limit, _, bound in texts)
    found = ", ".join(f"{limit.metric} {value}" for limit, value, _ in texts)
    return f"no candidate keeps {wanted}: the nearest has {found}"
