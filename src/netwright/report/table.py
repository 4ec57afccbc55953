"""The front as a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from ..core.front import Front
from ..core.metric import Metric, label
from .data import format_measurement


def front_table(front: Front, metrics: Sequence[Metric], roles: Mapping[str, str]) -> Table:
    """The networks of a front, one a row, with the metrics that at least one of them has.

    Args:
        front: the rows, in its order.
        metrics: the columns, in this order; an arrow says which way an objective is better.
        roles: network id to its role; a column of its own where a network of the front has one.
    """
    table = Table(box=None, header_style="bold", pad_edge=False)
    known = [m for m in metrics if any(m.name in record.measurements for record in front)]
    with_roles = any(record.id in roles for record in front)
    table.add_column("id", no_wrap=True)
    for metric in known:
        arrow = (" ↑" if metric.direction == "max" else " ↓") if metric in front.objectives else ""
        table.add_column(Text(label(metric.name) + arrow), justify="right", no_wrap=True)
    if with_roles:
        table.add_column("role")
    for record in front:
        role = [Text(roles.get(record.id, ""))] if with_roles else []
        found = (record.measurements.get(metric.name) for metric in known)
        table.add_row(Text(record.id), *(Text(format_measurement(m) if m else "-") for m in found), *role)
    return table
