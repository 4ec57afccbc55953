"""All objectives side by side, where there are more than two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..charts import ACCENT, GREY, axis_title, chart, layout
from ..data import ReportData, usable
from .base import Section

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True)
class Objectives(Section):
    """Every feasible network as a line across all objectives, where there are more than two."""

    heading = "The front"

    def html(self, data: ReportData) -> str:
        if len(data.objectives) < 3 or not usable(data.records, data.objectives):
            return ""
        words = "Each line is a feasible network, the front in colour; up is better. Drag along an axis to filter."
        return chart("parallel", parallel_figure(data), words)


def parallel_figure(data: ReportData) -> go.Figure:
    """Every feasible record as a line across all objectives, better always up; the front in colour.

    Needs one feasible record.
    """
    import plotly.graph_objects as go

    records = [data.records[i] for i in usable(data.records, data.objectives)]
    on_front = {record.candidate for record in data.front}
    dimensions = []
    for metric in data.objectives:
        values = [record.values[metric.name] for record in records]
        low, high = min(values), max(values)
        if low == high:
            low, high = low - 0.5, high + 0.5  # one value stands in the middle
        ticks = "~s" if metric.unit in ("", "B") else ".3~g"
        ends = [low, high] if metric.direction == "max" else [high, low]
        dimensions.append({"label": axis_title(metric), "values": values, "range": ends, "tickformat": ticks})
    colour = [int(record.candidate in on_front) for record in records]
    line = {"color": colour, "colorscale": [[0, "#a9b0bb"], [1, ACCENT]], "cmin": 0, "cmax": 1, "showscale": False}
    unselected = {"line": {"color": GREY, "opacity": 0.08}}
    figure = go.Figure(layout=layout(height=420))
    figure.add_trace(go.Parcoords(dimensions=dimensions, line=line, unselected=unselected))
    figure.update_layout(margin={"l": 90, "r": 90, "t": 70, "b": 30})
    return figure
