"""The networks of the front that were not exported, as shapes."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.units import format_value
from ..data import ReportData
from ..html import escape
from ..shapes import LEGEND, shape_html
from .base import Section


@dataclass(frozen=True)
class Others(Section):
    """The shapes of the networks on the front that were not exported."""

    heading = "Not exported networks on the front"

    def html(self, data: ReportData) -> str:
        exported = {network.id for network in data.networks}
        others = [record for record in data.front if record.id not in exported]
        if not others:
            return ""
        drawn: list[str] = []
        for record in others:
            values = " · ".join(format_value(record.values[m.name], m.unit) for m in data.objectives)
            shape = shape_html(record.candidate, data.space)
            opened = "" if drawn or exported else " open"
            summary = f"<summary><code>{record.id}</code>{escape(values)}</summary>"
            drawn.append(f"<details{opened}>{summary}{shape}</details>")
        return ("" if exported else LEGEND) + "".join(drawn)
