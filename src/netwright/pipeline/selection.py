"""Which networks of a front are handed back, and as what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..core.errors import NetwrightError
from ..core.front import Front, front
from ..core.metric import Metric
from ..core.record import Record
from ..report.data import ExportedNetwork

NEAR_POINTS = 1.0
"""How far below the best a network may be to count as near it, where the metric is in percent: in points."""
NEAR_SHARE = 0.05
"""The same in any other unit: a share of the best value."""
USELESS = ", but no better than a constant answer"


def select_networks(front: Front) -> list[Record]:
    """Which networks of the front are handed back by default: those that have a role by the figures of the search."""
    named = roles(front)
    return [record for record in front if record.id in named]


def roles(front: Front) -> dict[str, str]:
    """What networks are among those of a front: id to role.

    The best in the first objective; the best in the second that is near it in the first; the knee. Networks that a
    constant answer could equal have none, unless all are like that, which the role says then.
    """
    if not front:
        return {}
    first, *others = front.objectives
    able = Front([r for r in front if not r.measurements[first.name].at_chance], front.objectives)
    known = able or front
    best = known[0]
    picked: list[tuple[Record, str]] = [(best, first.best)]
    if others:
        second = others[0]
        room, words = _near(first, best.values[first.name])
        near = [r for r in known if abs(r.values[first.name] - best.values[first.name]) <= room]
        picked.append((min(near, key=lambda r: second.loss(r.values[second.name])), f"{second.best} {words}"))
        picked.append((known.knee(), "knee"))
    merged: dict[str, str] = {}
    for record, role in picked:
        merged[record.id] = f"{merged[record.id]}, {role}" if record.id in merged else role
    return merged if able else {id_: role + USELESS for id_, role in merged.items()}


def _near(metric: Metric, best: float) -> tuple[float, str]:
    """How far from the best value of a metric is near, and that in words."""
    if metric.unit == "%":
        return NEAR_POINTS, "within one point"
    return NEAR_SHARE * abs(best), f"within {NEAR_SHARE:.0%} of the best".replace("%", " %")


def assign_roles(exported: Sequence[ExportedNetwork], objectives: Sequence[Metric]) -> dict[str, str]:
    """What each of the networks that are handed back is among them, by the figures of its file: id to role."""
    handed = [_as_handed_back(network) for network in exported]
    best = front(handed, objectives)
    named = roles(best)
    able = {record.id for record in best}

    def role(record: Record) -> str:
        if record.status != "ok":
            return f"chosen; {record.reason}"
        chosen = "chosen" if record.id in able else "chosen; another that is handed back dominates it"
        return named.get(record.id, chosen)

    return {record.id: role(record) for record in handed}


def _as_handed_back(network: ExportedNetwork) -> Record:
    """A network's record with the figures of its file in place of the search's."""
    record = network.record
    # Test data are for nothing but to look at: what validation data say takes their place.
    return replace(record, measurements={**record.measurements, **network.test, **network.validation})


def records_by_id(records: Sequence[Record], ids: Sequence[str]) -> list[Record]:
    """The records of these ids or beginnings of ids."""
    found: dict[str, Record] = {}
    for wanted in ids:
        matches = [r for r in records if r.id.startswith(wanted)]
        if len(matches) != 1:
            how = "no id of the study begins" if not matches else f"{len(matches)} ids of the study begin"
            raise NetwrightError(f"{how} with {wanted!r}; 'netwright records' lists them")
        found[matches[0].id] = matches[0]
    return list(found.values())
