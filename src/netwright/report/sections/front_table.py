"""The networks of the front, one a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...core.metric import Metric, label
from ...core.record import Record
from ..data import GIVEN, ReportData, fewer_macs, nearest_miss
from ..html import escape, percent, table, text, value
from .base import Section


@dataclass(frozen=True)
class FrontTable(Section):
    """The given model, and the networks of the front with everything that was measured, one a row."""

    heading = "The front"

    def html(self, data: ReportData) -> str:
        return _front_table(data) + _gaps(data) if data.records else ""


def _front_table(data: ReportData) -> str:
    if not data.front:
        near = nearest_miss(data)
        hint = f" The nearest is {near.id}: {near.reason}." if near else ""
        return f'<p class="quiet below">The front is empty: no network is feasible.{text(hint)}</p>'
    roles = {network.id: network.role for network in data.networks}
    known = [m for m in data.metrics if any(m.name in record.values for record in data.front)]
    best = {m.name: min(m.loss(r.values[m.name]) for r in data.front if m.name in r.values) for m in known}
    smaller = any(fewer_macs(data, record) for record in data.front)

    def cell(record: Record, metric: Metric) -> str:
        found = record.measurements.get(metric.name)
        mark = ' class="best"' if found and metric.loss(found.value) == best[metric.name] else ""
        return f"<td{mark}>{value(found)}</td>"

    rows = [_given_row(data, known, bool(roles), smaller)] if data.given else []
    for record in data.front:
        role = roles.get(record.id)
        name = f"<code>{record.id}</code>"
        name = f'<a href="#n-{record.id}">{name}</a>' if role is not None else name
        share = fewer_macs(data, record)
        rows.append(
            f"<tr{'' if role is None else _EXPORTED}><td>{name}</td>"
            + (f'<td class="text role">{escape(role or "")}</td>' if roles else "")
            + "".join(cell(record, metric) for metric in known)
            + (f"<td>{f'{share:.3g}×' if share else '&ndash;'}</td>" if smaller else "")  # noqa: RUF001
            + "</tr>"
        )
    head = ["<th>network</th>"]
    head += ['<th class="text">role</th>'] if roles else []
    head += [f"<th>{escape(label(metric.name))}{_arrow(metric, data)}</th>" for metric in known]
    head += ["<th>fewer MACs</th>"] if smaller else []
    return table(head, rows)


def _given_row(data: ReportData, known: Sequence[Metric], with_roles: bool, smaller: bool) -> str:
    figures = "".join(f"<td>{value(data.given.get(metric.name))}</td>" for metric in known)
    own = f"<td>{'1×' if 'macs' in data.given else '&ndash;'}</td>" if smaller else ""  # noqa: RUF001
    return f"<tr><td>{GIVEN}</td>{'<td></td>' if with_roles else ''}{figures}{own}</tr>"


_EXPORTED = ' class="exported"'


def _arrow(metric: Metric, data: ReportData) -> str:
    if metric not in data.objectives:
        return ""
    return " ↑" if metric.direction == "max" else " ↓"


def _gaps(data: ReportData) -> str:
    gaps = data.front.gaps()
    if len(gaps) < 2:
        return ""
    return (
        f'<p class="below">'
        f"Neighbours on the front are {percent(float(np.median(gaps)))} of its range apart (median); the widest gap "
        f"is {percent(gaps[0])}.</p>"
    )
