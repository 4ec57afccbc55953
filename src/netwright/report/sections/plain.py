"""The plain cuts of a pre-trained model beside the front."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...core.front import losses
from ...core.metric import label
from ...core.record import Record
from ..data import ReportData
from ..html import escape, table, text, value
from .base import Section


@dataclass(frozen=True)
class Plain(Section):
    """What anybody would try first, fewer blocks or all narrower alike, and whether the front is better."""

    heading = "Plain cuts"

    def html(self, data: ReportData) -> str:
        cuts = [r for r in data.records if r.id in data.plain and all(m.name in r.values for m in data.objectives)]
        if not cuts:
            return ""
        best = {record.id for record in data.front} & data.plain.keys()
        words = (
            "Fewer blocks, all of them whole, or all blocks alike narrower: judged like all others, with the weights "
            "that were trained for all networks together, and not trained by themselves. "
        )
        if best:
            words += f"Where it says so the plain cut beats what the search has found: {len(best)} of {len(cuts)}."
        else:
            words += "None of them is on the front."
        head = ["<th>network</th>", '<th class="text">cut</th>']
        head += [f"<th>{escape(label(metric.name))}</th>" for metric in data.objectives]
        rows = (self._row(data, record) for record in cuts)
        return f"<p>{text(words)}</p>" + table([*head, '<th class="text">beside the front</th>'], rows)

    @staticmethod
    def _row(data: ReportData, record: Record) -> str:
        figures = "".join(f"<td>{value(record.measurements.get(metric.name))}</td>" for metric in data.objectives)
        return (
            f'<tr><td><code>{record.id}</code></td><td class="text">{escape(data.plain[record.id])}</td>{figures}'
            f'<td class="text">{escape(_beside(data, record))}</td></tr>'
        )


def _beside(data: ReportData, record: Record) -> str:
    """Where a record stands, in words."""
    if record.id in {each.id for each in data.front}:
        return "on it: no other network is better in all"
    if record.status != "ok":
        return record.reason
    own, others = losses([record], data.objectives), losses(list(data.front), data.objectives)
    no_worse = np.flatnonzero((others <= own).all(axis=1))
    better = data.front[int(no_worse[0])] if len(no_worse) else None
    return f"behind {better.id}" if better else "not measured to the end"
