"""The exported networks, each on a card."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.metric import label
from ...core.units import format_value
from ..data import GIVEN, ExportedNetwork, ReportData
from ..html import code, escape, table, value
from ..shapes import LEGEND, shape_html
from .base import Section


@dataclass(frozen=True)
class Networks(Section):
    """The exported networks, each with its figures, files, shape and how it is run."""

    heading = "Exported networks"

    def html(self, data: ReportData) -> str:
        return LEGEND + "".join(_card(each, data) for each in data.networks) if data.networks else ""


def _card(network: ExportedNetwork, data: ReportData) -> str:
    columns = {
        GIVEN: data.given,
        "search": network.record.measurements,
        "file, validation": network.validation,
        "file, test": network.test,
    }
    columns = {name: found for name, found in columns.items() if found}
    names = dict.fromkeys([m.name for m in data.metrics] + [name for found in columns.values() for name in found])
    rows = []
    for name in names:
        if any(name in found for found in columns.values()):
            values = "".join(f"<td>{value(found.get(name))}</td>" for found in columns.values())
            rows.append(f"<tr><td>{escape(label(name))}</td>{values}</tr>")
    sizes = []
    for name, size in network.files.items():
        sizes.append(
            f'<tr><td class="wide"><code>{escape(name)}</code></td><td>{escape(format_value(size, "B"))}</td></tr>'
        )
    failed = f"<p>The file fails: {escape(network.failed)}</p>" if network.failed else ""
    figures = table(["<th></th>", *(f"<th>{name}</th>" for name in columns)], rows)
    return f"""<article class="card" id="n-{escape(network.id)}">
<header><h3>{escape(network.role)}</h3><code class="quiet">{escape(network.id)}</code></header>
{failed}<div class="halves"><div><h4>Figures</h4>{figures}</div>
<div><h4>Files</h4>{table(["<th>file</th>", "<th>size</th>"], sizes)}</div></div>
<h4>Shape</h4>{shape_html(network.record.candidate, data.space)}
<h4>Run it</h4>
<div class="snippet"><button class="copy" type="button">Copy</button><pre><code>{code(network.run)}</code></pre></div>
</article>"""
