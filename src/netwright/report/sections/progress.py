"""How the search went on."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...core.record import Status
from ..charts import BLUE, GREY, axis_title, chart, hover, layout
from ..data import ReportData, hypervolume_trace, usable
from .base import Section

if TYPE_CHECKING:
    import plotly.graph_objects as go

STATUSES: dict[Status, str] = {"ok": "feasible", "infeasible": "infeasible", "failed": "failed"}


@dataclass(frozen=True)
class Progress(Section):
    """How many networks were tried, and how the front grew."""

    heading = "The search"

    def html(self, data: ReportData) -> str:
        if not data.records:
            return ""
        counts = Counter(record.status for record in data.records)
        statuses = ", ".join(f"{counts[s]:,} {word}" for s, word in STATUSES.items() if counts[s])
        lede = f"<p>{len(data.records):,} networks: {statuses}.</p>"
        if not usable(data.records, data.objectives):
            return lede
        words = "Hypervolume of the feasible networks so far, in percent of the box between the best and worst values."
        if len(data.objectives) == 1:
            words = "The best value so far; each dot is a feasible network."
        return f"{lede}\n{chart('progress', progress_figure(data), words)}"


def progress_figure(data: ReportData) -> go.Figure:
    """How the front grew: hypervolume over evaluations, or the best value so far where there is one objective."""
    import plotly.graph_objects as go

    trace = hypervolume_trace(data.records, data.objectives)
    evaluations = np.arange(1, len(trace) + 1)
    figure = go.Figure(layout=layout(height=300))
    figure.update_layout(xaxis={"title": {"text": "evaluation"}}, showlegend=False)
    metric = data.objectives[0]
    if len(data.objectives) == 1:
        where = usable(data.records, data.objectives)
        records = [data.records[i] for i in where]
        figure.add_trace(
            go.Scatter(
                x=[i + 1 for i in where],
                y=[r.values[metric.name] for r in records],
                mode="markers",
                marker={"size": 6, "color": GREY, "opacity": 0.5},
                **hover(records, data),
            )
        )
    title = axis_title(metric) if len(data.objectives) == 1 else "hypervolume (% of the box)"
    figure.add_trace(
        go.Scatter(
            x=evaluations,
            y=trace,
            mode="lines",
            line={"color": BLUE, "width": 2.5, "shape": "hv"},
            hovertemplate="after %{x} evaluations: %{y:.4g}<extra></extra>",
        )
    )
    figure.update_layout(yaxis={"title": {"text": title}})
    return figure
