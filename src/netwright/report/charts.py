"""What the charts of the page share: plotly figures that are readable on a light and on a dark ground."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..core.metric import Metric, label
from ..core.record import Record
from .data import ReportData, format_measurement
from .html import escape
from .shapes import shape_lines

if TYPE_CHECKING:
    import plotly.graph_objects as go

ACCENT = "#e4572e"
FAINT_ACCENT = "rgba(228,87,46,0.5)"
STAR = "#f4b63f"
BLUE = "#4c86d8"
GREY = "#8b93a1"
FAINT = "rgba(139,147,161,0.22)"
ORDER = [[0.0, "#9d8ad6"], [0.5, "#4aa0b5"], [1.0, "#7fb24a"]]
"""From the first evaluation to the last: hues of about the same lightness, so that neither ground hides an end."""


def chart(name: str, figure: go.Figure, caption: str) -> str:
    """A figure with a caption below it, as HTML.

    Args:
        name: of the figure, unique on the page.
        figure: as plotly has it.
        caption: plain text.
    """
    config = {"responsive": True, "displaylogo": False, "showSendToCloud": False, "plotlyServerURL": ""}
    drawn = figure.to_html(full_html=False, include_plotlyjs=False, div_id=f"chart-{name}", config=config)
    return f'<figure class="chart">{drawn}<figcaption>{escape(caption)}</figcaption></figure>'


def layout(height: int) -> dict[str, Any]:
    """No ground of its own; the page's style sheet colours text and grid for its theme."""
    line = {"gridcolor": FAINT, "linecolor": FAINT, "zeroline": False, "automargin": True, "exponentformat": "SI"}
    font = {"family": "system-ui, sans-serif", "size": 13}
    dark = {"bgcolor": "#20242b", "bordercolor": "#20242b"}
    side = {**line, "title": {"font": {"size": 13}}}
    return {
        "template": "none",
        "height": height,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {**font, "color": GREY},
        "margin": {"l": 60, "r": 20, "t": 40, "b": 50},
        "hoverlabel": {**dark, "align": "left", "font": {**font, "color": "#ffffff"}},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": GREY, "activecolor": ACCENT},
        "xaxis": side,
        "yaxis": side,
    }


def axis_title(metric: Metric) -> str:
    """A metric and its unit."""
    return escape(f"{label(metric.name)} ({metric.unit})" if metric.unit else label(metric.name))


def hover(records: Sequence[Record], data: ReportData) -> dict[str, Any]:
    """What a trace of these records says under the pointer."""
    texts = []
    for record in records:
        values = [
            f"{label(name)}  {format_measurement(m)}" + (f" ({m.as_measured})" if m.as_measured else "")
            for name, m in record.measurements.items()
        ]
        lines = [escape(line) for line in (*values, record.reason, *shape_lines(record.candidate, data.space)) if line]
        texts.append("<br>".join([f"<b>{record.id}</b>", *lines]))
    return {"hovertext": texts, "hovertemplate": "%{hovertext}<extra></extra>"}
