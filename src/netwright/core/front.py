"""The front: pure functions of records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import overload

import numpy as np

from .errors import NetwrightError, did_you_mean
from .metric import Direction, Metric
from .record import Record


def losses(records: Sequence[Record], objectives: Sequence[Metric]) -> np.ndarray:
    """Objective values with less being better, float64 of shape (records, objectives)."""
    points = np.empty((len(records), len(objectives)))
    for i, m in enumerate(objectives):
        points[:, i] = [r.values[m.name] for r in records]
        if m.direction == "max":
            points[:, i] *= -1.0
    return points


def nondominated(points: np.ndarray) -> np.ndarray:
    """Which points no other point dominates, bool of shape (n,).

    ``points`` is (n, objectives), less is better. A point dominates another when it is no worse in every objective
    and better in one; equal points do not dominate one another.
    """
    keep = np.zeros(len(points), dtype=bool)
    places = np.lexsort(points.T[::-1])
    if points.shape[1] == 2 and len(points):
        # In this order who dominates comes before, with a lesser or equal first loss: only the second one counts.
        ordered = points[places]
        new = np.r_[True, np.any(ordered[1:] != ordered[:-1], axis=1)]
        least_before = np.r_[np.inf, np.minimum.accumulate(ordered[:, 1])[:-1]]
        group = np.cumsum(new) - 1
        keep[places] = (new & (ordered[:, 1] < least_before))[np.flatnonzero(new)][group]
        return keep
    while len(places):
        # In this order the first of what is left can be dominated by nothing that is left.
        left, first = points[places], points[places[0]]
        keep[places[np.all(left == first, axis=1)]] = True
        places = places[np.any(left < first, axis=1)]
    return keep


def objectives_of(
    records: Sequence[Record], objectives: Mapping[str, Direction] | Sequence[Metric] | None = None
) -> tuple[Metric, ...]:
    """The objectives as a tuple of metrics: as given, or those that the records carry."""
    if isinstance(objectives, Mapping):
        objectives = tuple(Metric(name, direction=direction) for name, direction in objectives.items())
    if objectives is not None:
        if not objectives:
            raise NetwrightError('there are no objectives; give at least one, for example {"top1": "max"}')
        return tuple(objectives)
    carried = set({id(record.objectives): record.objectives for record in records}.values())  # most share one tuple
    if len(carried) > 1:
        raise NetwrightError("these records were made for different objectives; give objectives= to compare them")
    found = carried.pop() if carried else ()
    if records and not found:
        raise NetwrightError('these records carry no objectives; give them, for example objectives={"top1": "max"}')
    return found


def comparable(records: Iterable[Record], objectives: Sequence[Metric]) -> list[Record]:
    """The feasible records that were measured whole in every objective."""
    names = [m.name for m in objectives]
    return [r for r in records if is_comparable(r, names)]


def is_comparable(record: Record, names: Iterable[str]) -> bool:
    """Whether a record is feasible and was measured whole in every metric named."""
    if record.status != "ok":
        return False
    values, open_ = record.values, record.best_cases
    return all(name in values and name not in open_ for name in names)


def front(records: Iterable[Record], objectives: Mapping[str, Direction] | Sequence[Metric] | None = None) -> Front:
    """The non-dominated feasible records, best in the first objective first.

    Args:
        records: from a study or a search; those that are not ``ok``, lack an objective, or were stopped before they
            were measured whole are left out.
        objectives: name to direction, or metrics; by default those that the records were made for.
    """
    records = list(records)
    for each in records:
        if not isinstance(each, Record):
            raise NetwrightError(f"front() takes records, as study.records and nw.search give them, not {each!r:.80}")
    chosen = objectives_of(records, objectives)
    usable = comparable(records, chosen)
    if isinstance(objectives, Mapping) and not usable and (ok := [r for r in records if r.status == "ok"]):
        known = {name for record in ok for name in record.measurements}
        if unknown := [m.name for m in chosen if m.name not in known]:
            raise NetwrightError(f"none of the records has {unknown[0]!r}; {did_you_mean(unknown[0], sorted(known))}")
    points = losses(usable, chosen)
    keep = np.flatnonzero(nondominated(points)) if usable else np.array([], dtype=int)
    keep = keep[np.lexsort(points[keep].T[::-1])] if len(keep) else keep
    return Front([usable[i] for i in keep], chosen)


class Front(Sequence[Record]):
    """Non-dominated records, best in the first objective first."""

    def __init__(self, records: Sequence[Record], objectives: tuple[Metric, ...]) -> None:
        self._records = list(records)
        self.objectives = objectives

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        return self._records[index]

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records)

    def __repr__(self) -> str:
        return f"Front({len(self)} records, {', '.join(f'{m.name} {m.direction}' for m in self.objectives)})"

    def pick(self, metric: str) -> Record:
        """The record that is best in one objective."""
        self._not_empty()
        for m in self.objectives:
            if m.name == metric:
                return min(self, key=lambda r: m.loss(r.values[m.name]))
        raise NetwrightError(f"{metric!r} is no objective; {did_you_mean(metric, [m.name for m in self.objectives])}")

    def gaps(self) -> np.ndarray:
        """How far apart neighbours on the front are, the widest gap first, shape (records - 1,).

        Neighbours are those that the shortest tree through all records joins; each objective counts from 0 to 1 along
        the front, so that the gaps of an even front of two objectives are all alike.
        """
        if len(self) < 2:
            return np.empty(0)
        points = losses(self._records, self.objectives)
        reach = np.ptp(points, axis=0)
        points = points / np.where(reach > 0, reach, 1.0)
        nearest_in = np.linalg.norm(points - points[0], axis=1)  # to the tree as it grows (Prim 1957)
        nearest_in[0] = np.inf
        found = []
        for _ in range(len(points) - 1):
            new = int(np.argmin(nearest_in))
            found.append(nearest_in[new])
            apart = np.linalg.norm(points - points[new], axis=1)
            nearest_in = np.where(np.isinf(nearest_in), np.inf, np.minimum(nearest_in, apart))
            nearest_in[new] = np.inf
        return np.sort(found)[::-1]

    def knee(self) -> Record:
        """The record nearest to the ideal point, each objective scaled to the front's own range."""
        self._not_empty()
        points = losses(self._records, self.objectives)
        low, high = points.min(axis=0), points.max(axis=0)
        scaled = (points - low) / np.where(high > low, high - low, 1.0)
        return self._records[int(np.argmin(np.linalg.norm(scaled, axis=1)))]

    def _not_empty(self) -> None:
        if not self._records:
            raise NetwrightError("the front is empty: no record is feasible")
