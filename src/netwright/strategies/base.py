"""What a strategy is, and what it may know."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import numpy as np

from ..core.candidate import Candidate
from ..core.encoding import Encoding
from ..core.enumerated import EnumeratedSpace
from ..core.errors import CallError
from ..core.front import nondominated
from ..core.limits import Limit
from ..core.metric import Metric
from ..core.record import Record
from ..core.space import Space

T = TypeVar("T")

TRIES = 200
"""Draws per wanted candidate before a search for new, feasible candidates is given up."""

WARM_START = 8
"""Candidates that are taken over from the records of another study."""

LISTED = 4000
"""Spaces up to this size are gone through when draws find too little, so that they are emptied to the last."""


Figures = Callable[[Sequence[Candidate]], Mapping[str, np.ndarray]]
"""Figures of candidates, by name, each of shape (candidates,)."""


def of_each(function: Callable[[Candidate], Mapping[str, float]]) -> Figures:
    """The figures of many candidates, of a function that finds those of one."""

    def found(candidates: Sequence[Candidate]) -> dict[str, np.ndarray]:
        each = [function(candidate) for candidate in candidates]
        names = each[0] if each else ()
        return {name: np.array([values[name] for values in each], dtype=np.float64) for name in names}

    return found


@dataclass(frozen=True)
class Problem:
    """What is searched for.

    Args:
        space: the space of the candidates.
        objectives: the objectives, in order; one or more.
        limits: the limits that a candidate must keep.
        exact: the exact metrics of candidates by name, each of shape (candidates,): cheap enough to ask for thousands.
        seed: the seed of everything random.
        pending: candidates that were proposed and are still being measured.
        warm_start: records of another study of the same space (another device, another dataset). They advise, and are
            never part of a front.
        hints: cheap figures of candidates by name, such as zero-cost proxies, that cost too much to be asked for
            thousands: a strategy that uses them asks for a shortlist, and for what it learns from. The same for the
            same candidate.
        initial: candidates that are measured among the first, such as the bits that
            :func:`netwright.assign_bits` gives.
    """

    space: Space
    objectives: tuple[Metric, ...]
    limits: tuple[Limit, ...] = ()
    exact: Figures = lambda candidates: {}
    seed: int = 0
    pending: tuple[Candidate, ...] = ()
    warm_start: tuple[Record, ...] = ()
    hints: Figures | None = None
    initial: tuple[Candidate, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of what the objectives and the limits read, each once."""
        return tuple(dict.fromkeys([m.name for m in self.objectives] + [x.metric for x in self.limits]))

    def rng(self, history: Sequence[Record]) -> np.random.Generator:
        """The generator for the next proposal: a function of the seed and of how much was proposed."""
        return np.random.default_rng([self.seed, len(history) + len(self.pending)])

    def proposed(self, history: Sequence[Record]) -> list[Candidate]:
        """What was measured and what is being measured."""
        return [*(r.candidate for r in history), *self.pending]

    def known(self, history: Sequence[Record], more: Iterable[Candidate] = ()) -> Known[Candidate]:
        """The same, and more, as a set, at once for a :class:`History`."""
        measured = history.candidates if isinstance(history, History) else {r.candidate for r in history}
        return Known(measured, (*self.pending, *more))

    def allows(self, candidate: Candidate) -> bool:
        """Whether the candidate keeps every limit on an exact metric."""
        return bool(self.allowed([candidate])[0])

    def allowed(self, candidates: Sequence[Candidate]) -> np.ndarray:
        """Which candidates keep every limit on an exact metric, bool of shape (candidates,)."""
        kept = np.ones(len(candidates), dtype=bool)
        values = self.exact(candidates) if self.limits else {}
        for limit in self.limits:
            if limit.metric in values:
                kept &= limit.violations(values[limit.metric]) == 0
        return kept

    def violation(self, values: Mapping[str, float]) -> float:
        """How far values are beyond the limits, summed; 0 where all known limits are kept."""
        return sum(limit.violation(values[limit.metric]) for limit in self.limits if limit.metric in values)

    def losses(self, record: Record) -> list[float] | None:
        """The objectives with less being better, or None where one was not found."""
        if any(m.name not in record.values for m in self.objectives):
            return None
        return [m.loss(record.values[m.name]) for m in self.objectives]


class Known(AbstractSet[T]):
    """A set (of candidates) and some more, which leaves that set as it is: it may be large, and is not copied."""

    def __init__(self, those: AbstractSet[T], more: Iterable[T] = ()) -> None:
        self._those, self._more = those, {c for c in more if c not in those}

    def __contains__(self, candidate: object) -> bool:
        return candidate in self._those or candidate in self._more

    def __iter__(self) -> Iterator[T]:
        yield from self._those
        yield from self._more

    def __len__(self) -> int:
        return len(self._those) + len(self._more)

    def add(self, candidate: T) -> None:
        """Know one more."""
        if candidate not in self._those:
            self._more.add(candidate)


class History(list[Record]):
    """Records that only grow in number: their candidates, and figures of all, are known without going through all."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        super().__init__(records)
        self.candidates = {r.candidate for r in self}
        self._columns: dict[Hashable, np.ndarray] = {}
        self._rows: tuple[Encoding, np.ndarray, set[bytes]] | None = None

    @classmethod
    def of(cls, records: Sequence[Record]) -> History:
        """The records themselves, where they are a history."""
        return records if isinstance(records, History) else cls(records)

    def append(self, record: Record) -> None:
        super().append(record)
        self.candidates.add(record.candidate)

    def column(self, key: Hashable, of: Callable[[Record], float]) -> np.ndarray:
        """A number of every record, float64 of shape (records,). By the same key it is read of new records alone."""
        known = self._columns.get(key, np.empty(0))
        if len(known) < len(self):
            more = [of(self[i]) for i in range(len(known), len(self))]
            self._columns[key] = known = np.concatenate([known, np.array(more, dtype=np.float64)])
        return known

    def values(self, name: str) -> np.ndarray:
        """The values of a metric; NaN where it was not found."""
        return self.column(name, lambda record: record.values.get(name, np.nan))

    def rows(self, encoding: Encoding) -> tuple[np.ndarray, AbstractSet[bytes]]:
        """The rows of the candidates, and the bytes of each."""
        known = self._rows if self._rows and self._rows[0] is encoding else None
        _, rows, found = known or (encoding, encoding.of([]), set[bytes]())
        if len(rows) < len(self):
            more = encoding.of([self[i].candidate for i in range(len(rows), len(self))])
            found.update(row.tobytes() for row in more)
            rows = np.concatenate([rows, more])
        self._rows = encoding, rows, found
        return rows, found


class Strategy(ABC):
    """Proposes candidates from the history.

    A strategy is a function of the problem and the records, with settings but no state: whatever it proposed once
    it proposes again from the same records, so that a study resumes exactly.

    Args:
        batch: how many candidates it likes to be asked for at once.
    """

    batch: int = 1

    positive: ClassVar[tuple[str, ...]] = ("batch",)
    """Settings that must be 1 or more."""

    def __post_init__(self) -> None:
        for name in self.positive:
            if not (isinstance(value := getattr(self, name), int | np.integer) and value >= 1):
                raise CallError(f"{type(self).__name__}: {name} must be a whole number of 1 or more, not {value!r}")

    @abstractmethod
    def ask(self, problem: Problem, history: Sequence[Record], n: int) -> list[Candidate]:
        """Up to ``n`` distinct candidates, neither in the history nor pending, that keep the exact limits.

        Fewer, or none, when the space holds no more that can be found.
        """

    def predict_metrics(
        self, problem: Problem, history: Sequence[Record], candidate: Candidate, names: Sequence[str]
    ) -> Mapping[str, tuple[float, float]]:
        """Metric name to what it will be and half its 95 % interval, for the metrics that are known well enough.

        Asked where a device is slow: what is predicted within a narrow interval is measured only if it may be on the
        front.
        """
        return {}


def draw_new(
    problem: Problem,
    known: Iterable[Candidate],
    n: int,
    rng: np.random.Generator,
    draw: Callable[[], Candidate],
    tries: int = TRIES,
) -> list[Candidate]:
    """Draw until ``n`` candidates are new, distinct, and within the exact limits; at most ``tries`` times ``n``.

    As draws fail, more and more choices are taken from the smallest candidate (for lower limits from the largest),
    so that narrow limits are reached. In a listed space, a draw that is not in the list stands for the nearest new
    candidate that is.
    """
    listed = problem.space if isinstance(problem.space, EnumeratedSpace) else None
    seen = Known(known if isinstance(known, AbstractSet) else set(known), problem.pending)
    found: list[Candidate] = []
    ends = [0 if limit.op in ("<", "<=") else -1 for limit in problem.limits]
    for attempt in range(tries * n):
        if len(found) == n or (listed is not None and len(seen) >= listed.size):
            break
        candidate = draw()
        if ends and rng.random() < attempt / (tries * n):
            end = ends[int(rng.integers(len(ends)))]
            candidate = _towards(end, problem.space, candidate, float(rng.random()), rng)
        if listed is not None:
            candidate = listed.nearest(candidate, seen, rng)
        if candidate not in seen and problem.allows(candidate):
            seen.add(candidate)
            found.append(candidate)
    if len(found) < n and (listed is not None or problem.space.size <= LISTED):
        found += [c for c in problem.space.enumerate() if c not in seen and problem.allows(c)][: n - len(found)]
    return found


def initial_candidates(problem: Problem, history: Sequence[Record], n: int) -> list[Candidate]:
    """With what every strategy begins, while it is not measured yet: the smallest and the largest candidate, which
    are the ends of every front, those that were given, and the best of the records of the warm start."""
    known = problem.known(history)
    wanted = [problem.space.smallest, problem.space.largest, *problem.initial]
    if len(history) + len(problem.pending) < WARM_START:
        wanted += _best(problem)
    return [c for c in dict.fromkeys(wanted) if c not in known and problem.allows(c)][:n]


def _best(problem: Problem) -> list[Candidate]:
    """At most ``WARM_START`` candidates of the front of the warm start, spread along it."""
    usable = [r for r in problem.warm_start if r.status != "failed"]
    losses = _known_losses(problem, usable)
    whole = ~np.isnan(losses).any(axis=1)
    if not losses.shape[1] or not whole.any():
        return []
    usable, losses = [r for r, is_whole in zip(usable, whole, strict=True) if is_whole], losses[whole]
    best = np.flatnonzero(nondominated(losses))
    best = best[np.lexsort(losses[best].T[::-1])]
    return [usable[i].candidate for i in best[np.linspace(0, len(best) - 1, min(WARM_START, len(best))).astype(int)]]


def _known_losses(problem: Problem, records: Sequence[Record]) -> np.ndarray:
    """The objectives of records of another study, shape (records, objectives), less being better; of those alone that
    it has found of some, or that are exact. NaN where one was not found."""
    columns = []
    for metric in problem.objectives:
        found = [record.values.get(metric.name, np.nan) for record in records]
        if np.isnan(found).all() and metric.exact and records:
            found = list(problem.exact([record.candidate for record in records]).get(metric.name, found))
        if not np.isnan(found).all():
            columns.append([metric.loss(value) for value in found])
    return np.array(columns, dtype=np.float64).reshape(len(columns), len(records)).T


def _towards(end: int, space: Space, candidate: Candidate, share: float, rng: np.random.Generator) -> Candidate:
    """The candidate with a share of its choices at their first (``end`` 0) or last option (-1)."""
    return space.build(
        lambda c: c.options[end] if c.name not in candidate or rng.random() < share else candidate[c.name]
    )
