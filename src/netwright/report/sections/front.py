"""The front as a chart, over the first two objectives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.limits import Limit
from ...core.metric import Metric
from ...core.record import Record
from ...core.text import printable
from ..charts import ACCENT, FAINT_ACCENT, GREY, ORDER, STAR, axis_title, chart, hover, layout
from ..data import ReportData, limit_text
from ..html import escape
from .base import Section

if TYPE_CHECKING:
    import plotly.graph_objects as go

LETTER = 0.008
"""The width of a bold letter beside a network, as a share of the chart's."""

LINE = 18
"""Letters of a line of the text beside a network."""


@dataclass(frozen=True)
class FrontChart(Section):
    """Every network by the first two objectives, and the front."""

    heading = "The front"

    def html(self, data: ReportData) -> str:
        if len(data.objectives) < 2 or not placed(data):
            return ""
        right, up = axes_of(data.objectives)
        better = f"{'up' if up.direction == 'max' else 'down'} and {'left' if right.direction == 'min' else 'right'}"
        words = f"Each dot is a network; better is {better}. Bars are 95 % intervals."
        if len(data.objectives) > 2:
            words += " Networks that look dominated here are better in another objective."
        return chart("front", front_figure(data), words)


@dataclass(frozen=True)
class _Side:
    """One axis of the front chart: its metric, what it shows, and whether it is logarithmic."""

    metric: Metric
    low: float
    high: float
    log: bool

    @classmethod
    def of(cls, metric: Metric, values: Sequence[float], limits: Sequence[Limit]) -> _Side:
        """Wide enough for the values and for the limits near them."""
        low, high = min(values), max(values)
        bounds = [limit.bound for limit in limits if limit.metric == metric.name]
        log = metric.unit != "%" and min([low, *bounds]) > 0 and high / low > 20
        near = [bound for bound in bounds if abs(bound - (low + high) / 2) <= high - low]
        return cls(metric, min([low, *near]), max([high, *near]), log)

    def place(self, value: float) -> float:
        """Where plotly puts a value on this axis."""
        return float(np.log10(value)) if self.log else value

    @property
    def range(self) -> list[float]:
        """What the axis shows at first: everything and a margin, in plotly's coordinates.

        The margin is wider on the better side, where the names of the exported networks stand.
        """
        low, high = self.place(self.low), self.place(self.high)
        unit = high - low or abs(high) or 1.0
        better, worse = 0.14 * unit, 0.05 * unit
        below, above = (better, worse) if self.metric.direction == "min" else (worse, better)
        floor = 0.0 if low >= 0 and not self.log else -np.inf
        return [max(low - below, floor), high + above]

    @property
    def axis(self) -> dict[str, Any]:
        return {
            "range": self.range,
            "type": "log" if self.log else "linear",
            "title": {"text": axis_title(self.metric)},
        }

    def anchor(self, value: float, low: str, high: str) -> str:
        """Which end of a text at this value goes there, so that the text stands where there is more room."""
        start, end = self.range
        return low if self.place(value) < (start + end) / 2 else high

    def text_side(self, value: float, wished: str, letters: int = 0) -> str:
        """The side of a value where a text does not run over the worse end, which has little margin, nor, where the
        other side has room, over any end.

        Args:
            value: that the text belongs to.
            wished: ``left`` or ``right``.
            letters: of the text.
        """
        start, end = self.range
        share = (self.place(value) - start) / (end - start)
        if self.metric.direction == "min" and share > 0.8:
            return "left"
        if self.metric.direction == "max" and share < 0.2:
            return "right"
        room = {"left": share, "right": 1 - share}
        other = "left" if wished == "right" else "right"
        return other if room[wished] < LETTER * letters <= room[other] else wished

    def beyond(self, limit: Limit) -> tuple[float, float]:
        """The forbidden side of a limit, as far as anyone scrolls."""
        low, high = self.range
        far = limit.bound * 1e6 if self.log else limit.bound + 100 * (high - low)
        near = limit.bound / 1e6 if self.log else limit.bound - 100 * (high - low)
        return (limit.bound, far) if limit.op.startswith("<") else (near, limit.bound)


def axes_of(objectives: Sequence[Metric]) -> tuple[Metric, Metric]:
    """Which of the first two objectives goes right and which goes up: the one to be maximised goes up."""
    first, second = objectives[:2]
    return (first, second) if (first.direction, second.direction) == ("min", "max") else (second, first)


def placed(data: ReportData) -> list[tuple[int, Record]]:
    """The records that the front chart can show, each with the number of its evaluation, from 1."""
    names = {metric.name for metric in axes_of(data.objectives)}
    return [(i, r) for i, r in enumerate(data.records, 1) if r.status != "failed" and names <= r.values.keys()]


def front_figure(data: ReportData) -> go.Figure:
    """All records and the front, over the first two objectives.

    Needs two objectives and one record that is :func:`placed`.
    """
    import plotly.graph_objects as go

    right, up = axes_of(data.objectives)
    seen = placed(data)
    x = _Side.of(right, [r.values[right.name] for _, r in seen], data.limits)
    y = _Side.of(up, [r.values[up.name] for _, r in seen], data.limits)
    figure = go.Figure(layout=layout(height=480))
    figure.update_layout(xaxis=x.axis, yaxis=y.axis, legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"})
    for limit in data.limits:
        _draw_limit(figure, limit, x, y)

    def draw(name: str, records: Sequence[Record], **style: Any) -> None:
        if records:
            places = {"x": [r.values[right.name] for r in records], "y": [r.values[up.name] for r in records]}
            figure.add_trace(go.Scatter(name=name, **places, **hover(records, data), **style))

    hollow = {"symbol": "circle-open", "size": 6, "color": GREY, "opacity": 0.8}
    draw("breaks a limit", [r for _, r in seen if r.status == "infeasible"], mode="markers", marker=hollow)

    on_front = {record.candidate for record in data.front}
    dominated = [(i, r) for i, r in seen if r.status == "ok" and r.candidate not in on_front]
    title = {"text": "evaluation", "side": "right", "font": {"size": 13}}
    bar = {"title": title, "thickness": 8, "len": 0.7, "outlinewidth": 0, "nticks": 5}
    order = {"color": [i for i, _ in dominated], "colorscale": ORDER, "size": 6, "opacity": 0.6, "colorbar": bar}
    draw("feasible", [r for _, r in dominated], mode="markers", marker=order)

    front = sorted(data.front, key=lambda r: right.loss(r.values[right.name]))
    draw(
        "front",
        front,
        mode="lines+markers" if len(data.objectives) == 2 else "markers",
        line={"color": ACCENT, "width": 2, "shape": "hv"},  # the best that x or less can buy
        marker={"color": ACCENT, "size": 8},
        error_x=_bars(front, right),
        error_y=_bars(front, up),
    )

    networks = [n for n in data.networks if {right.name, up.name} <= n.record.values.keys()]
    networks.sort(key=lambda n: n.record.values[right.name])
    labels = [wrap(printable(network.role), LINE) for network in networks]
    draw(
        "exported",
        [network.record for network in networks],
        mode="markers+text",
        marker={"symbol": "star", "size": 17, "color": STAR, "line": {"color": ACCENT, "width": 1.5}},
        text=[f"<b>{'<br>'.join(map(escape, lines))}</b>" for lines in labels],
        textposition=_sides([network.record for network in networks], labels, x, up),
        cliponaxis=False,
    )
    return figure


def _sides(records: Sequence[Record], labels: Sequence[Sequence[str]], x: _Side, up: Metric) -> list[str]:
    """Where labels stand: on the side where better networks would be, every other one across, so that neighbours are
    apart.

    Args:
        records: from left to right.
        labels: of each, in lines.
        x: the side that goes right.
        up: the metric that goes up.
    """
    levels = ("top", "bottom") if up.direction == "max" else ("bottom", "top")
    ends = ("left", "right") if x.metric.direction == "min" else ("right", "left")
    longest = [max(map(len, lines), default=0) for lines in labels]
    return [
        f"{levels[i % 2]} {x.text_side(record.values[x.metric.name], ends[i % 2], longest[i])}"
        for i, record in enumerate(records)
    ]


def _bars(records: Sequence[Record], metric: Metric) -> dict[str, Any] | None:
    """Error bars of the metric's intervals; None where every value is exact."""
    halves = [record.measurements[metric.name].ci95 for record in records]
    return {"array": halves, "color": FAINT_ACCENT, "thickness": 1.2, "width": 3} if any(halves) else None


def _draw_limit(figure: go.Figure, limit: Limit, x: _Side, y: _Side) -> None:
    """Shade what a limit on one of the two sides forbids, and name it where the other side is at its worst."""
    shade = {"fillcolor": GREY, "opacity": 0.12, "line_width": 0, "layer": "below"}
    dash = {"line": {"color": GREY, "width": 1.5, "dash": "dash"}}
    text = {"text": escape(limit_text(limit)), "showarrow": False}
    if limit.metric == x.metric.name:
        left, right = x.beyond(limit)
        figure.add_shape(type="rect", x0=left, x1=right, yref="paper", y0=0, y1=1, **shade)
        figure.add_shape(type="line", x0=limit.bound, x1=limit.bound, yref="paper", y0=0, y1=1, **dash)
        anchor = x.anchor(limit.bound, "left", "right")
        end = {"y": 0, "yanchor": "bottom"} if y.metric.direction == "max" else {"y": 1, "yanchor": "top"}
        figure.add_annotation(x=x.place(limit.bound), xanchor=anchor, yref="paper", **end, **text)
    elif limit.metric == y.metric.name:
        low, high = y.beyond(limit)
        figure.add_shape(type="rect", y0=low, y1=high, xref="paper", x0=0, x1=1, **shade)
        figure.add_shape(type="line", y0=limit.bound, y1=limit.bound, xref="paper", x0=0, x1=1, **dash)
        anchor = y.anchor(limit.bound, "bottom", "top")
        end = {"x": 1, "xanchor": "right"} if x.metric.direction == "min" else {"x": 0, "xanchor": "left"}
        figure.add_annotation(y=y.place(limit.bound), yanchor=anchor, xref="paper", **end, **text)
