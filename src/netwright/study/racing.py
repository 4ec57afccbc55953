"""Racing: measuring stops early of who is dominated whatever the rest of the samples say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..core.front import losses
from ..core.limits import Limit
from ..core.metric import Measurement, Metric
from ..core.record import Record
from ..measure.base import Race


@dataclass(frozen=True, eq=False)
class Rivals:
    """What a candidate races against: the front as it is, as numbers that another process can be given.

    Args:
        objectives: in order.
        points: losses of the front, shape (rivals, objectives).
        totals: metric name to the samples of a whole measurement, for the metrics that may be stopped.
        confidence: with which a candidate that is stopped is dominated.
    """

    objectives: tuple[Metric, ...]
    points: np.ndarray
    totals: Mapping[str, int]
    confidence: float

    def race(self, found: Mapping[str, Measurement]) -> Race:
        """What a measurer is told, of whose candidate ``found`` will be known when it is asked."""

        def lost(name: str, best: float) -> bool:
            known = {k: m.value if m.best_case is None else m.best_case for k, m in found.items()}
            return is_dominated({**known, name: best}, self.objectives, self.points)

        return Race(self.confidence, self.totals, lost)


def rivals_of(
    front: Sequence[Record], objectives: tuple[Metric, ...], limits: Iterable[Limit], confidence: float
) -> Rivals | None:
    """The rivals of the next candidates; None where there are none. What a limit is on is always measured whole."""
    if not front:
        return None
    limited = {limit.metric for limit in limits}
    raced = [m.name for m in objectives if not m.exact and m.name not in limited]
    totals = {name: max(r.measurements[name].n for r in front) for name in raced}
    return Rivals(objectives, losses(front, objectives), totals, confidence)


def is_dominated(values: Mapping[str, float], objectives: Sequence[Metric], points: np.ndarray) -> bool:
    """Whether one of the points, losses of shape (n, objectives), dominates values; never where one is not known."""
    if any(m.name not in values for m in objectives):
        return False
    own = np.array([m.loss(values[m.name]) for m in objectives])
    return bool(np.any(np.all(points <= own, axis=1) & np.any(points < own, axis=1)))


def is_dominated_partial(record: Record, objectives: Sequence[Metric], points: np.ndarray) -> bool:
    """Whether a record is not known whole, and is dominated even with the best values that it may have."""
    best = record.best_cases
    return bool(best) and is_dominated({**record.values, **best}, objectives, points)
