"""The report: one HTML page that needs nothing else, not even a network connection."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.files import write_atomically
from ..core.metric import Measurement, Metric
from ..core.record import Record, Status
from ..core.units import format_value
from .data import (
    ExportedNetwork,
    ReportData,
    big,
    format_measurement,
    headline,
    label,
    limit_text,
    nearest_miss,
    usable,
    why_not,
)
from .figures import axes_of, front_figure, parallel_figure, placed, progress_figure
from .shapes import shape_html

if TYPE_CHECKING:
    import plotly.graph_objects as go

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline' 'unsafe-eval'; img-src data: blob:"
"""Even a mistake of ours loads nothing. Plotly compiles its shaders, which counts as eval."""

_REASONS = 12


def write_page(data: ReportData, path: str | Path) -> None:
    """Write the page to ``path``, at once: a reader sees the old page or the new one, never half of one.

    Raises OSError where the directory is missing or cannot be written.
    """
    path = Path(path)
    write_atomically(path, render(data).encode("utf-8", errors="replace"))


def render(data: ReportData) -> str:
    """The page as HTML: style, script and plotly.js inside, every text escaped, nothing to load."""
    from plotly.offline import get_plotlyjs

    source = files(__package__)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(data.title)}</title>
<link rel="icon" href="data:,">
<style>{source.joinpath("page.css").read_text("utf-8")}</style>
<script>{get_plotlyjs()}</script>
</head>
<body>
<main>
{_head(data)}
{_front(data)}
{_exported(data)}
{_shapes(data)}
{_search(data)}
{_conditions(data)}
<footer>Written by netwright. This page is one file and loads nothing from the network.</footer>
</main>
<script>{source.joinpath("page.js").read_text("utf-8")}</script>
</body>
</html>
"""


# -- head ------------------------------------------------------------------------------------------------------


def _head(data: ReportData) -> str:
    limits = " and ".join(limit_text(limit) for limit in data.limits)
    lede = f"Every network on the front keeps {limits}." if data.front else f"Asked for: {limits}."
    tiles = "".join(f'<div class="tile"><b>{_text(b)}</b><span>{_text(text)}</span></div>' for b, text in _keys(data))
    return f"""<p class="title">{escape(data.title)}</p>
<h1>{_text(headline(data))}</h1>
<p class="quiet">{_text(lede) if limits else ""}</p>
<div class="tiles">{tiles}</div>"""


def _keys(data: ReportData) -> Iterator[tuple[str, str]]:
    """The key figures, each with what it is."""
    if data.front:
        for metric in data.objectives[:3]:
            best = data.front.pick(metric.name)
            word = "highest" if metric.direction == "max" else "lowest"
            yield format_value(best.values[metric.name], metric.unit), f"{word} {label(metric.name)} on the front"
    shares = [share for record in data.front if (share := _smaller(data, record))]
    if shares:
        largest = format_value(data.largest["macs"], "")
        yield f"up to {max(shares):.3g}×", f"fewer MACs than the largest network ({largest})"  # noqa: RUF001
    yield f"{len(data.records):,}", f"networks evaluated, of {big(data.space_size)} possible"


def _smaller(data: ReportData, record: Record) -> float | None:
    """How many times fewer MACs than the largest network; None where that is not known."""
    whole, own = data.largest.get("macs"), record.values.get("macs")
    return whole / own if whole and own else None


# -- front -----------------------------------------------------------------------------------------------------


def _front(data: ReportData) -> str:
    charts = ""
    if len(data.objectives) > 1 and placed(data):
        right, up = axes_of(data.objectives)
        better = f"{'up' if up.direction == 'max' else 'down'} and {'left' if right.direction == 'min' else 'right'}"
        words = f"Each dot is a network; better is {better}. Bars are 95 % intervals."
        if len(data.objectives) > 2:
            words += " Networks that look dominated here are better in another objective."
        charts = _figure("front", front_figure(data), words)
    if len(data.objectives) > 2 and usable(data.records, data.objectives):
        words = "Each line is a feasible network, the front in colour; up is better. Drag along an axis to filter."
        charts += _figure("parallel", parallel_figure(data), words)
    return f"<h2>The front</h2>\n{charts}\n{_front_table(data)}" if charts or data.front else ""


def _front_table(data: ReportData) -> str:
    if not data.front:
        near = nearest_miss(data)
        hint = f" The nearest is {near.id}: {near.reason}." if near else ""
        return f'<p class="quiet below">The front is empty: no network is feasible.{_text(hint)}</p>'
    roles = {network.id: network.role for network in data.networks}
    known = [m for m in data.metrics if any(m.name in record.values for record in data.front)]
    best = {m.name: min(m.loss(r.values[m.name]) for r in data.front if m.name in r.values) for m in known}
    smaller = any(_smaller(data, record) for record in data.front)

    def cell(record: Record, metric: Metric) -> str:
        found = record.measurements.get(metric.name)
        mark = ' class="best"' if found and metric.loss(found.value) == best[metric.name] else ""
        return f"<td{mark}>{_value(found)}</td>"

    rows = []
    for record in data.front:
        role = roles.get(record.id)
        name = f"<code>{record.id}</code>"
        name = f'<a href="#n-{record.id}">{name}</a>' if role is not None else name
        share = _smaller(data, record)
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
    return _table(head, rows)


_EXPORTED = ' class="exported"'


def _arrow(metric: Metric, data: ReportData) -> str:
    if metric not in data.objectives:
        return ""
    return " ↑" if metric.direction == "max" else " ↓"


# -- networks --------------------------------------------------------------------------------------------------


def _exported(data: ReportData) -> str:
    if not data.networks:
        return ""
    return f"<h2>Exported networks</h2>{_LEGEND}" + "".join(_card(network, data) for network in data.networks)


_LEGEND = '<p class="quiet">In a shape, a box is filled as far as its choice stands among its options.</p>'


def _card(network: ExportedNetwork, data: ReportData) -> str:
    columns = {
        "search": network.record.measurements,
        "file, validation": network.validation,
        "file, test": network.test,
    }
    columns = {name: found for name, found in columns.items() if found}
    names = dict.fromkeys([m.name for m in data.metrics] + [name for found in columns.values() for name in found])
    rows = []
    for name in names:
        if any(name in found for found in columns.values()):
            values = "".join(f"<td>{_value(found.get(name))}</td>" for found in columns.values())
            rows.append(f"<tr><td>{escape(label(name))}</td>{values}</tr>")
    sizes = []
    for name, size in network.files.items():
        sizes.append(f'<tr><td class="wide"><code>{escape(name)}</code></td><td>{format_value(size, "B")}</td></tr>')
    figures = _table(["<th></th>", *(f"<th>{name}</th>" for name in columns)], rows)
    return f"""<article class="card" id="n-{escape(network.id)}">
<header><h3>{escape(network.role)}</h3><code class="quiet">{escape(network.id)}</code></header>
<div class="halves"><div><h4>Figures</h4>{figures}</div>
<div><h4>Files</h4>{_table(["<th>file</th>", "<th>size</th>"], sizes)}</div></div>
<h4>Shape</h4>{shape_html(network.record.candidate, data.space)}
<h4>Run it</h4>
<div class="snippet"><button class="copy" type="button">Copy</button><pre><code>{escape(network.run)}</code></pre></div>
</article>"""


def _shapes(data: ReportData) -> str:
    exported = {network.id for network in data.networks}
    others = [record for record in data.front if record.id not in exported]
    if not others:
        return ""
    drawn: list[str] = []
    for record in others:
        values = " · ".join(format_value(record.values[m.name], m.unit) for m in data.objectives)
        shape = shape_html(record.candidate, data.space)
        opened = "" if drawn or exported else " open"
        drawn.append(f"<details{opened}><summary><code>{record.id}</code>{escape(values)}</summary>{shape}</details>")
    title = "Other networks on the front" if exported else "Networks on the front"
    return f"<h2>{title}</h2>{'' if exported else _LEGEND}{''.join(drawn)}"


# -- search ----------------------------------------------------------------------------------------------------


def _search(data: ReportData) -> str:
    if not data.records:
        return ""
    chart = ""
    if usable(data.records, data.objectives):
        words = "Hypervolume of the feasible networks so far, in percent of the box between the best and worst values."
        if len(data.objectives) == 1:
            words = "The best value so far; each dot is a feasible network."
        chart = _figure("progress", progress_figure(data), words)
    counts = Counter(record.status for record in data.records)
    statuses = ", ".join(f"{counts[s]:,} {word}" for s, word in _STATUSES.items() if counts[s])
    lede = f"<h2>The search</h2>\n<p>{len(data.records):,} networks: {statuses}.</p>"
    return f"{lede}\n{chart}\n{_gaps(data)}{_reasons(data)}{_predicted(data)}"


_STATUSES: dict[Status, str] = {"ok": "feasible", "infeasible": "infeasible", "failed": "failed"}


def _gaps(data: ReportData) -> str:
    gaps = data.front.gaps()
    if len(gaps) < 2:
        return ""
    return (
        f'<p class="below">'
        f"Neighbours on the front are {_share(float(np.median(gaps)))} of its range apart (median); the widest gap "
        f"is {_share(gaps[0])}.</p>"
    )


def _share(value: float) -> str:
    return f"{100 * value:.2g}\u00a0%"


def _predicted(data: ReportData) -> str:
    units = {metric.name: metric.unit for metric in data.metrics}
    rows = [
        f"<tr><td>{escape(label(name))}</td><td>{s.kendall:.2f}</td><td>{s.spearman:.2f}</td>"
        f"<td>{escape(format_value(float(f'{s.rmse:.2g}'), units.get(name, '')))}</td>"
        f"<td>{_share(s.calibration)}</td></tr>"
        for name, s in data.predicted.items()
    ]
    head = ["metric", "Kendall's tau", "Spearman's rho", "error (RMS)", "within 95 % intervals"]
    words = (
        '<p class="quiet">How well each metric can be predicted from the other records (five-fold cross-validation of '
        "the Gaussian process): what guided proposals stand on.</p>"
    )
    return f"{words}{_table([f'<th>{x}</th>' for x in head], rows)}" if rows else ""


def _reasons(data: ReportData) -> str:
    found = why_not(data)
    rows = [
        f'<tr><td>{status}</td><td class="text wide">{escape(reason)}</td><td>{number:,}</td></tr>'
        for status, reason, number in found[:_REASONS]
    ]
    if len(found) > _REASONS:
        rest = sum(number for _, _, number in found[_REASONS:])
        rows.append(f'<tr><td></td><td class="text">{len(found) - _REASONS} more reasons</td><td>{rest:,}</td></tr>')
    return _table(["<th>status</th>", '<th class="text">reason</th>', "<th>networks</th>"], rows)


# -- conditions ------------------------------------------------------------------------------------------------


def _conditions(data: ReportData) -> str:
    parts = {"Target": data.target, "Versions": data.versions, "Run": data.facts}
    lists = "".join(f"<section><h4>{name}</h4>{_lines(lines)}</section>" for name, lines in parts.items() if lines)
    return f'<h2>How this was made</h2><div class="columns">{lists}</div>' if lists else ""


def _lines(lines: Mapping[str, Any]) -> str:
    pairs = (f"<dt>{escape(label(name))}</dt><dd>{escape(str(value))}</dd>" for name, value in _flat(lines))
    return f"<dl>{''.join(pairs)}</dl>"


def _flat(lines: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in lines.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


# -- pieces ----------------------------------------------------------------------------------------------------


def _text(words: str) -> str:
    """Escaped, and a number stays on one line with what it counts."""
    return escape(re.sub(r"(?<=[\d\u00d7]) ", "\u00a0", words))


def _figure(name: str, figure: go.Figure, caption: str) -> str:
    config = {"responsive": True, "displaylogo": False, "showSendToCloud": False, "plotlyServerURL": ""}
    drawn = figure.to_html(full_html=False, include_plotlyjs=False, div_id=f"chart-{name}", config=config)
    return f'<figure class="chart">{drawn}<figcaption>{escape(caption)}</figcaption></figure>'


def _table(head: Iterable[str], rows: Iterable[str]) -> str:
    body = "".join(rows)
    return f'<div class="scroll"><table class="figures"><tr>{"".join(head)}</tr>{body}</table></div>' if body else ""


def _value(measurement: Measurement | None) -> str:
    """A measurement with its interval set back."""
    if measurement is None:
        return "&ndash;"
    value, sign, half = format_measurement(measurement).partition(" ± ")
    return f'{escape(value)}<span class="pm">{sign}{escape(half)}</span>'
