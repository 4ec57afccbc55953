"""The front as a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from rich.table import Table
from rich.text import Text

from ..core.front import Front
from ..core.metric import Measurement, Metric, label
from ..core.text import printable
from .data import GIVEN, format_measurement


def front_table(
    front: Front,
    metrics: Sequence[Metric],
    roles: Mapping[str, str],
    given: Mapping[str, Measurement] = MappingProxyType({}),
) -> Table:
    """The given model, if there is one, and the networks of a front, one a row, with the metrics that at least one
    network of the front has.

    Args:
        front: the rows, in its order.
        metrics: the columns, in this order; an arrow says which way an objective is better.
        roles: network id to its role; a column of its own where a network of the front has one.
        given: the figures of the given model by metric name.
    """
    table = Table(box=None, header_style="bold", pad_edge=False)
    known = [m for m in metrics if any(m.name in record.measurements for record in front)]
    with_roles = any(record.id in roles for record in front)
    table.add_column("id", no_wrap=True)
    for metric in known:
        arrow = (" ↑" if metric.direction == "max" else " ↓") if metric in front.objectives else ""
        table.add_column(Text(printable(label(metric.name)) + arrow), justify="right", no_wrap=True)
    if with_roles:
        table.add_column("role")
    rows = [(GIVEN, given, "")] if given and front else []
    rows += [(record.id, record.measurements, roles.get(record.id, "")) for record in front]
    for name, measurements, role in rows:
        found = (measurements.get(metric.name) for metric in known)
        figures = (Text(printable(format_measurement(m)) if m else "-") for m in found)
        table.add_row(Text(printable(name)), *figures, *([Text(printable(role))] if with_roles else []))
    return table
