"""Why networks are infeasible or failed."""

from __future__ import annotations

from dataclasses import dataclass

from ..data import ReportData, why_not
from ..html import escape, table
from .base import Section


@dataclass(frozen=True)
class Reasons(Section):
    """Why networks are infeasible or failed, the most frequent reasons first.

    Args:
        most: how many reasons are shown.
    """

    most: int = 12

    heading = "The search"

    def html(self, data: ReportData) -> str:
        found = why_not(data)
        rows = [
            f'<tr><td>{status}</td><td class="text wide">{escape(reason)}</td><td>{number:,}</td></tr>'
            for status, reason, number in found[: self.most]
        ]
        if len(found) > self.most:
            rest = sum(number for _, _, number in found[self.most :])
            words = f"{len(found) - self.most} more reasons"
            rows.append(f'<tr><td></td><td class="text">{words}</td><td>{rest:,}</td></tr>')
        return table(["<th>status</th>", '<th class="text">reason</th>', "<th>networks</th>"], rows)
