"""The study: asks a strategy, measures, journals, resumes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ..core.candidate import Candidate
from ..core.errors import DeviceLost, InfeasibleConstraints, MachineFault, MeasureError, NetwrightError, StoreError
from ..core.faults import check_addresses, no_memory
from ..core.front import Front
from ..core.interruption import ending, raise_lost
from ..core.limits import Limit, broken, check_together, explain, parse_limit
from ..core.metric import Measurement, Metric
from ..core.precision import Rounding
from ..core.record import Record
from ..core.warn import warn
from ..measure.base import Measurer, Searchable, check_rounding
from ..strategies import STRATEGIES
from ..strategies.base import Problem, Strategy
from .asked import asked_for, check_evaluations, check_settings, check_warm_start, listed, proposed
from .attempts import Attempts
from .candidate_hints import Hints
from .evaluate import GOES_ON, EvaluationPlan, Job, failure
from .executors import EXECUTORS
from .executors.base import Executor
from .failures import ATTEMPTS, ENDED, ENDS, check_measured_by, check_retry, commonest, failed_of, never_measured
from .feasibility import check_exact_limits, infeasible, nearest_record
from .header import header_of, other_study
from .journal import Journal, read_header
from .machines import check_machines
from .out_of_memory import ran_out, with_room
from .prediction import predict_measurements
from .racing import rivals_of
from .run import Choose, Run, Step, Watch
from .standing import Standing, is_device_lost
from .stores import open_store
from .stores.base import Entries, Store
from .stores.memory import MemoryStore

FAR = 0.25
"""How far, relative to the bound, the smallest network is beyond a limit that larger ones will not keep either."""

WAIT_S = 0.2
"""Seconds between two looks at whether others have gone on."""

LEAST_ADDRESSES = 1 << 29
"""Of memory that a process may have addresses for: what strategies' libraries map as they are loaded, which end the
process or hang where they cannot."""


class Study:
    """Space, objectives, limits and journal: everything that is known of a search.

    Opening a study that exists continues it: what was measured is read back, what was asked for but not measured
    is measured first, and the strategy proposes what it would have proposed. A candidate at which three processes
    ended without a word is recorded as failed.

    Args:
        store: a :class:`Store`, the path of a SQLite file, or a text such as ``sqlite,path=runs/study.db`` or
            ``module:Class`` of one's own.
        net: what is searched: anything with ``space`` and ``extract``.
        objectives: measurers, each an objective by its first metric; or metrics that one in ``record`` finds, also by
            their names alone.
        limits: such as ``"latency <= 5 ms"``, on any metric of ``objectives`` or ``record``. They may differ from
            the last time: every record is judged by the current limits.
        record: further measurers, whose metrics are stored with the objectives.
        calibration: batches for the normalisation statistics of each candidate, as the network was trained on
            (augmented); what they draw is the same for all. The largest keeps its own where these are better.
        seed: of everything random.
        warm_start: records of another study of the same space (another device, dataset or super-network), for
            strategies to start from. They are never part of the front, and are looked at for the objectives' and
            limits' names.
        initial: candidates that strategies measure among the first, such as those of :func:`netwright.assign_bits`.
        hints: functions of a candidate by name, cheaper than measuring and dearer than counting, such as a zero-cost
            proxy: numbers that may tell something of the objectives, always the same for the same candidate. Strategies
            that predict ask them for a shortlist, and use them as features.
        racing: a confidence below 1, such as 0.95: measurers that can (:class:`netwright.Accuracy`) judge a candidate
            on growing parts of their data, and stop once a record that was measured whole dominates it with this
            confidence. 0 measures all candidates whole. What a limit is on is always measured whole. A measurement
            that was stopped is ``partial``: its ``n`` is less than ``of``, and ``best_case`` is the end of its
            interval; it is never on the front, and counts as not measured as soon as other limits leave it undominated.
        rounding: how weights of few bits (:class:`netwright.Bits`) are rounded: each to the nearest value, or by what
            layers give on the calibration batches (:func:`netwright.gptq`), which costs several times as much as
            recalibrating.
        key: what else must be the same for the journal to be continued, such as the weights; JSON values.
    """

    def __init__(
        self,
        store: Store | str | Path,
        net: Searchable,
        *,
        objectives: Sequence[Measurer | Metric | str],
        limits: str | Iterable[str | Limit] = (),
        record: Sequence[Measurer] = (),
        calibration: Iterable[Any] | None = None,
        seed: int = 0,
        warm_start: Iterable[Record] = (),
        initial: Iterable[Candidate] = (),
        hints: Mapping[str, Callable[[Candidate], float]] | None = None,
        racing: float = 0.0,
        rounding: Rounding = "nearest",
        key: Mapping[str, Any] | None = None,
    ) -> None:
        check_settings(net, objectives, seed, racing)
        check_rounding(rounding, net, calibration)
        wanted, further = asked_for(objectives, record)
        self.store = open_store(store)
        self.net, self.seed, self.racing = net, int(seed), racing
        self.measurers = tuple(dict.fromkeys([*(m for m in wanted if isinstance(m, Measurer)), *further]))
        self.objectives = tuple(m if isinstance(m, Metric) else m.metrics[0] for m in wanted)
        found = {m.name: m for m in (*self.objectives, *(x for each in self.measurers for x in each.metrics))}
        self.metrics = tuple(found.values())
        self.limits = tuple(x if isinstance(x, Limit) else parse_limit(x, self.metrics) for x in listed(limits))
        check_together(self.limits)
        self.plan = EvaluationPlan(net, self.measurers, self.objectives, self.limits, calibration, racing > 0, rounding)
        self.warm_start = tuple(check_warm_start(each, net.space) for each in warm_start)
        self.initial = tuple(net.space.candidate(each) for each in initial)
        self._exact: dict[Candidate, dict[str, float]] = {}
        self._hints = Hints(hints) if hints else None
        self._standing: Standing | None = None
        key = {**(key or {}), **({} if rounding == "nearest" else {"rounding": rounding})}
        self._header = header_of(net.space, self.objectives, self.seed, self.warm_start, key)
        self._replay()
        check_exact_limits(self.problem, (m.name for each in self.plan.exact for m in each.metrics))
        self._note_limits()

    # -- what is known -----------------------------------------------------------------------------------------

    @property
    def records(self) -> list[Record]:
        """Everything known, in the order of measuring, judged by the current limits."""
        return self.journal.records

    @property
    def standing(self) -> Standing:
        """Which records stand under the current limits, and which candidates are measured again."""
        if self._standing is None:
            self._standing = Standing(self.plan, self.journal.records, self.journal.again)
        return self._standing

    def front(self) -> Front:
        """The non-dominated feasible records, of those that were measured whole."""
        return self.standing.front

    @property
    def problem(self) -> Problem:
        """The study as a strategy sees it; what was asked for and is not measured yet is pending."""
        pending = tuple(self.journal.asked)
        known = self.net.space, self.objectives, self.limits, self._exact_of, self.seed
        return Problem(*known, pending, self.warm_start, self._hints, self.initial)

    def nearest(self) -> Record | None:
        """The record that is least beyond the limits, of those that a limit was measured for."""
        return nearest_record(self.problem, self.records)

    # -- running -----------------------------------------------------------------------------------------------

    def run(
        self,
        strategy: Strategy | str,
        evaluations: int,
        watch: Watch | None = None,
        *,
        retry: str = "",
        executor: Executor | str = "local",
    ) -> list[Record]:
        """Ask, measure and journal until the study holds ``evaluations`` records, or the space is exhausted.

        What could not be measured is measured again first where the code that measures it or the metrics that are
        asked for have changed since, and where everything failed; with ``retry="failed"`` all that failed is.

        The executor says where candidates are evaluated: in this process by default; with
        ``"local,timeout=60,memory=2 GB"`` in one of their own, so that a candidate that crashes, hangs or takes all
        memory is no more than a failed one; with ``"local,workers=4"`` in as many at once. A strategy is asked as
        evaluations end, and told what is pending. With one worker the same seed gives the same proposals; with several
        each proposal is a function of the journal as it was, in which it is written before it is evaluated.

        Without ``watch``, which is told of each record, a warning says in the end how many failed, and why most often.

        Raises :class:`InfeasibleConstraints` when limits were given and no record keeps them, and :class:`MeasureError`
        when nothing could be measured, or nothing measures what is asked for; the study keeps its records. A network
        that runs out of memory is failed where the last that was measured, or the smallest, still has enough;
        otherwise, as where the disk is full, :class:`netwright.core.errors.MachineFault` is raised. A measurer that
        cannot measure anything here raises before the first network, and so does a study that another process is
        running.
        """
        check_retry(retry)
        strategy, executor = STRATEGIES.make(strategy), EXECUTORS.make(executor)
        check_evaluations(evaluations)
        check_addresses(LEAST_ADDRESSES, "a search")
        with ending(self._kept), self.store.held():
            self.journal.follow(self.store)  # another process may have gone on with it since it was opened
            self._standing = None
            self._note_limits()
            if retry:
                self._again(r for r in self.records if r.status == "failed")
            if self._left(evaluations):
                check_measured_by(self.measurers, self.objectives, self.limits)
            run = Run(strategy, evaluations, watch, executor)
            try:
                self._run(run)
            except BaseException as error:
                self._stop(run)
                known = isinstance(error, NetwrightError) or not isinstance(error, Exception)
                if not known and (fix := no_memory(error)):  # of a strategy, a store
                    raise MachineFault(f"{fix}; {GOES_ON}") from error
                raise
            finally:
                executor.close()
        records = self.records
        if records and all(r.status == "failed" for r in records):
            self._nothing_measured(f"none of {len(records)} networks could be measured: {commonest(records)}")
        if self.limits and not any(r.status == "ok" for r in records):
            raise infeasible(self.problem, records)
        if watch is None and (failed := failed_of(records)):
            warn(f'{failed}; retry="failed" measures them again')
        return records

    @property
    def _kept(self) -> str:
        """What is so once a run was ended by a signal."""
        if isinstance(self.store, MemoryStore):
            return "nothing that was measured is kept: give the study a file for that"
        return f"what was measured is kept in {self.store.place}; the same call continues from here"

    def _run(self, run: Run) -> None:
        self._check_measured()
        self._attempts.resumed = self._attempts.next
        while self._fill(run) or (self._left(run.evaluations) and self._others_go_on()):
            if run.jobs:
                self._wait(run)
        # What was predicted and would be on the front is measured in the end: nothing on the front is predicted.
        while unmeasured := self.standing.unmeasured:
            known = {r.candidate: r for r in unmeasured}
            if candidate := self._claim(run, partial(_first, known)):
                self._start(run, candidate, known[candidate].provenance, predicts=False)
                self._wait(run, run.evaluations - len(unmeasured) + 1)
            else:
                self._others_go_on()

    def _wait(self, run: Run, done: int | None = None) -> None:
        """Wait until a job is done, and journal those that are."""
        run.done += run.executor.results()
        for job, _ in run.done:
            del run.jobs[job.candidate]
        run.short += [each for each in run.done if ran_out(each[1])]
        run.done = [each for each in run.done if not ran_out(each[1])]
        if run.executor.workers > 1 and not run.short:  # whoever waits begins before it is journalled who is done
            self._fill(run, asks=False)
        self._journal_done(run, done)
        while run.short and not run.jobs:  # evaluated once more where each has the machine to itself
            job, record = run.short.pop(0)
            run.done = [(job, self._with_room(run.executor, job, record))]
            self._journal_done(run, done)

    def _journal_done(self, run: Run, done: int | None) -> None:
        """Journal what became of jobs, and tell of it."""
        if not run.done:
            return
        check_machines(self.journal.judged, run.done)
        kept = self._entries_of([record for _, record in run.done])
        if self.store.shared and done is None and not (run.short or run.claimed or run.jobs):
            # One step for both: several processes add to the journal in turn.
            run.claimed = self._claim(run, lambda taken: self._waiting(run, taken), kept)
        else:
            self._add(kept)
            self._attempts.begun = None
        told, run.done = run.done, []
        for job, _ in told:
            if job.candidate not in self.journal.found:  # another has taken it up
                continue
            record = self.journal.judged_of(job.candidate)
            if run.watch:
                run.watch(Step(record, len(self.standing.known) if done is None else done, run.evaluations))
            run.lost = self._lost_again(run.lost, record)
            self._check_measured()

    def _fill(self, run: Run, asks: bool = True) -> bool:
        """Have every worker evaluate a candidate, and ask for further ones as they are needed, if it may be so; whether
        any is being evaluated."""
        while len(run.jobs) < run.executor.workers and not run.short:
            raise_lost()
            waiting, run.claimed = run.claimed, None
            waiting = waiting or self._claim(run, lambda taken: self._waiting(run, taken))
            while waiting is None and asks and self._ask(run):
                waiting = self._claim(run, lambda taken: self._waiting(run, taken))
            if waiting is None:
                break
            self._start(run, waiting, self.journal.asked[waiting])
        return bool(run.jobs)

    def _waiting(self, run: Run, taken: Set[Candidate]) -> Candidate | None:
        """The first of those that were asked for and that nobody evaluates, if it may be evaluated."""
        if self._room(run, taken) <= 0:
            return None
        return run.waiting(self.journal.asked, taken)

    def _room(self, run: Run, taken: Set[Candidate]) -> int:
        """How many may be begun, where others evaluate those that are taken."""
        others = sum(c in self.journal.asked for c in taken)
        return self._left(run.evaluations) - len(run.jobs) - len(run.done) - others

    def _left(self, evaluations: int) -> int:
        """How many networks are to be measured."""
        return max(evaluations - len(self.standing.known), len(self.journal.again), 0)

    def _ask(self, run: Run) -> bool:
        """Have the next candidates pending; whether it pays to look for them."""
        standing, strategy, journal = self.standing, run.strategy, self.journal
        n = min(strategy.batch, self._room(run, self._taken()))
        if n <= 0:
            return False
        again = [c for c in standing.again if c not in journal.asked]
        candidates = again[:n] or proposed(strategy, strategy.ask(self.problem, standing.known, n), self.net.space)
        entries, known = journal.entries, journal.found.keys() & {*candidates}

        def still() -> Entries:
            """Those that nobody has asked for or measured meanwhile."""
            new = [c for c in candidates if c not in journal.asked and (c in known or c not in journal.found)]
            if again and journal.entries > entries:
                new = [c for c in new if c in self.standing.again]
            # Journalled before it is measured: what a batch held does not depend on when the study was killed.
            provenance = {"strategy": STRATEGIES.text(strategy), "seed": self.seed}
            return [("ask", {"candidates": [dict(c) for c in new], "provenance": provenance})] if new else []

        if candidates:
            self._add(still)
        return journal.entries > entries

    def _start(self, run: Run, candidate: Candidate, provenance: Mapping[str, Any], predicts: bool = True) -> None:
        """Have a candidate evaluated. What takes long and is predicted narrowly is not measured, if it may be so."""
        told, rivals = {}, None
        if predicts:
            needed, problem = self.plan.needed, self.problem
            told = predict_measurements(self.measurers, needed, run.strategy, problem, self.journal.judged, candidate)
        if self.racing:
            rivals = rivals_of(self.front(), self.objectives, self.limits, self.racing)
        job = Job(self.plan, candidate, provenance, rivals, told)
        # One that is evaluated in another process does not end this one.
        if not run.executor.isolates and not self._attempts.begin(candidate):
            run.done.append((job, failure(job, ENDS, **{ENDED: ATTEMPTS})))
            self._journal_done(run, None)
            return
        run.jobs[candidate] = job
        run.executor.submit(job)

    def _with_room(self, executor: Executor, job: Job, record: Record) -> Record:
        """The record of a job, of which this was the first; see :func:`with_room`."""

        def control(other: Candidate) -> Record:
            return executor.evaluate(Job(job.plan.whole, other))

        return with_room(record, self._others, lambda _: executor.evaluate(job), control)

    def _stop(self, run: Run) -> None:
        """Journal what is done all the same, and that nobody is to blame for the end."""
        with suppress(NetwrightError):  # what stops the study may stop this too
            self.journal.follow(self.store)  # it may just have been written
            done = [each for each in [*run.done, *run.executor.results(0.0)] if each[0].candidate in self.journal.asked]
            with suppress(StoreError):
                check_machines(self.journal.judged, done)
            self._add(self._entries_of([record for _, record in done if not ran_out(record)]))
        if not run.executor.isolates:
            self._attempts.end(self._attempts.begun or self._attempts.next)

    @property
    def _others(self) -> Iterator[Candidate]:
        """What a network that runs out of memory is compared with: the last that was measured; or the smallest."""
        yield from (r.candidate for r in reversed(self.records) if r.status == "ok")
        yield from (self.net.space.smallest, self.net.space.largest)

    def _lost_again(self, before: bool, last: Record) -> bool:
        """Whether the device was lost in the last measurement. Raises where it was in the one before too: networks are
        not to blame, and would all fail."""
        if before and is_device_lost(last):
            raise DeviceLost(f"{last.reason}; the study is kept, and goes on when the device is back")
        return is_device_lost(last)

    def _check_measured(self) -> None:
        """Raise where a metric was among the figures of no network so far: the others would all fail."""
        known = self.standing.known
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
            self._append("retry", {"candidates": [dict(c) for c in candidates]})

    def _exact_of(self, candidates: Sequence[Candidate]) -> Mapping[str, np.ndarray]:
        return self.plan.exact_values(candidates, self._exact)

    # -- before training ---------------------------------------------------------------------------------------

    def probe(self, executor: Executor | str = "local") -> None:
        """Measure the smallest network on the device, and against limits that do not depend on training, before
        training is paid for.

        A network that breaks one is journalled; one that breaks it by more than a quarter raises
        :class:`InfeasibleConstraints`, since larger networks will not keep it either; one that cannot be measured
        raises :class:`MeasureError`. The executor says where it is evaluated, see :meth:`run`.
        """
        smallest = self.net.space.smallest
        known = self.journal.found.get(smallest)
        if known and ENDED in known.provenance:
            return
        executor, attempts = EXECUTORS.make(executor), self._attempts
        before, attempts.resumed = attempts.of(smallest), smallest
        try:
            self._probe(smallest, known, executor)
        finally:
            attempts.end(attempts.begun, before)
            executor.close()

    def _probe(self, smallest: Candidate, known: Record | None, executor: Executor) -> None:
        """Measure the smallest network, of which this is known."""
        found = dict(known.measurements) if known else {}
        for measurer in self.measurers:
            own = self.plan.limited & {m.name for m in measurer.metrics}
            if measurer.depends_on_weights or measurer in self.plan.exact or not (own or measurer.on_device):
                continue
            new = not {m.name for m in measurer.metrics} & found.keys() or not own <= found.keys()
            about = {"strategy": "probe", "seed": self.seed}
            if new:
                if self._attempts.begun is None and not self._attempts.begin(smallest):
                    self._note_probe(known, failure(Job(self.plan, smallest, about), ENDS, **{ENDED: ATTEMPTS}))
                    return
                found.update(self._probed(smallest, measurer, executor))
            if missing := sorted(own - found.keys()):
                raise MeasureError(f"{missing[0]!r} cannot be measured here")
            values = {name: found[name].value for name in own}
            if broken(self.limits, values):
                if new:
                    about |= {"time": round(time.time(), 3), **measurer.provenance()}
                    why = explain(self.limits, found)
                    self._note_probe(known, Record(smallest, found, "infeasible", why, self.objectives, about))
                if self.problem.violation(values) > FAR and not any(r.status == "ok" for r in self.records):
                    raise infeasible(self.problem, self.records)
                return

    def _note_probe(self, known: Record | None, record: Record) -> None:
        """Journal what was found of the smallest network, if no more is known of it than before."""
        self._add(lambda: [("record", record.to_json())] if self.journal.found.get(record.candidate) == known else [])

    def _probed(self, smallest: Candidate, measurer: Measurer, executor: Executor) -> Mapping[str, Measurement]:
        """What one measurer finds of the smallest network."""
        alone = EvaluationPlan(
            self.net, (measurer,), (), calibration=self.plan.calibration, rounding=self.plan.rounding
        )
        job = Job(alone, smallest)
        record = self._with_room(executor, job, executor.evaluate(job))
        if record.status == "failed":
            raise (DeviceLost if is_device_lost(record) else MeasureError)(record.reason)
        return record.measurements

    # -- the journal -------------------------------------------------------------------------------------------

    def _append(self, kind: str, body: Mapping[str, Any]) -> None:
        """Add an entry, and know what it says: from the store, as who resumes does."""
        self._add(lambda: [(kind, body)])

    def _entries_of(self, records: Sequence[Record]) -> Callable[[], Entries]:
        """What gives the entries of records, but for those that others evaluate by now."""
        own = self.store.member

        def kept() -> Entries:
            claims = self.journal.claims
            return [("record", r.to_json()) for r in records if not own or claims.get(r.candidate) == own]

        return kept

    def _add(self, decide: Callable[[], Entries]) -> None:
        """Add the entries that ``decide`` gives while nobody else adds any, and know what they say."""

        def decided() -> Entries:
            if self.store.shared:
                self._follow()
            return decide()

        self.store.add(decided)
        self._follow(added=True)

    def _follow(self, added: bool = False) -> None:
        """Know what entries say that are new."""
        standing, self._standing = self._standing, None  # built anew where the store fails meanwhile
        new = self.journal.follow(self.store, added=added)
        if standing and new is not None:
            for candidate in new:
                standing.add(self.journal.judged_of(candidate))
            self._standing = standing

    def _claim(self, run: Run, choose: Choose, first: Callable[[], Entries] = tuple) -> Candidate | None:
        """The candidate that is chosen, where others evaluate those that it is told of; from then on nobody else
        does, and its attempt has begun where this process evaluates it. Other entries may come first in the same
        step."""
        if not self.store.shared:
            return choose(frozenset())
        chosen: Candidate | None = None
        attempt: Entries = ()

        def claimed() -> Entries:
            nonlocal chosen, attempt
            kept, chosen, attempt = first(), None, ()
            if self.journal.limits == self.limits:
                chosen = choose(self._taken())
            elif not kept:
                raise StoreError(
                    "another process has set other limits for this study, by which all that search it must judge: run "
                    "this again with them"
                )
            if chosen is None:
                return kept
            attempt = () if run.executor.isolates else self._attempts.entries(chosen)
            return [*kept, ("claim", {"candidate": dict(chosen), "by": self.store.member}), *attempt]

        self._add(claimed)
        self._attempts.begun = chosen if attempt else None
        return chosen

    def _taken(self) -> Set[Candidate]:
        """What others evaluate, as far as they are there."""
        others = [(c, by) for c, by in self.journal.claims.items() if by != self.store.member]
        present = self.store.present({by for _, by in others}) if others else ()
        return {c for c, by in others if by in present}

    def _others_go_on(self) -> bool:
        """Whether others evaluate something, after a moment in which they may have gone on."""
        if not self._taken():
            return False
        time.sleep(WAIT_S)
        self._follow()
        return True

    def _replay(self) -> None:
        """Read the journal, or begin it. Raises :class:`StoreError` where it is of another study."""
        self.store.begin("study", self._header)
        where, header = self.store.place, read_header(self.store)
        if header is None:
            raise StoreError(
                f"of {where} what the study is of cannot be read: its records can be read, but no search can go on "
                "with it; use another output directory"
            )
        try:  # before its candidates are read, which another space has not
            differs = other_study(header, self._header)
        except (AttributeError, LookupError, TypeError):
            differs = "its first entry cannot be read"
        if differs:
            fix = "give this one another name" if self.store.shared else "use another output directory"
            raise StoreError(f"{where} holds another study: {differs}; {fix}")
        self.journal = Journal(self.net.space.candidate)
        self.journal.follow(self.store)
        self._attempts = Attempts(self.journal, self._append, self.store.shared)
        self._standing = None

    def _note_limits(self) -> None:
        if self.journal.limits != self.limits:
            self._append("limits", {"limits": [[x.metric, x.op, x.bound, x.unit] for x in self.limits]})


def _first(candidates: Iterable[Candidate], taken: Set[Candidate]) -> Candidate | None:
    """The first that is not taken."""
    return next((c for c in candidates if c not in taken), None)
