"""The result in a sentence and a few figures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...core.metric import label
from ...core.units import format_value
from ..data import ReportData, big, fewer_macs, headline, limit_text
from ..html import escape, text
from .base import Section


@dataclass(frozen=True)
class Summary(Section):
    """The result in a sentence and a few figures."""

    def html(self, data: ReportData) -> str:
        limits = " and ".join(limit_text(limit) for limit in data.limits)
        lede = f"Every network on the front keeps {limits}." if data.front else f"Asked for: {limits}."
        tiles = "".join(
            f'<div class="tile"><b>{text(b)}</b><span>{text(words)}</span></div>' for b, words in _keys(data)
        )
        return f"""<p class="title">{escape(data.title)}</p>
<h1>{text(headline(data))}</h1>
<p class="quiet">{text(lede) if limits else ""}</p>
<div class="tiles">{"".join(tiles)}</div>"""


def _keys(data: ReportData) -> Iterator[tuple[str, str]]:
    """The key figures, each with what it is."""
    if data.front:
        for metric in data.objectives[:3]:
            best = data.front.pick(metric.name)
            word = "highest" if metric.direction == "max" else "lowest"
            yield format_value(best.values[metric.name], metric.unit), f"{word} {label(metric.name)} on the front"
    shares = [share for record in data.front if (share := fewer_macs(data, record))]
    if shares:
        largest = format_value(data.largest["macs"], "")
        yield f"up to {max(shares):.3g}×", f"fewer MACs than the largest network ({largest})"  # noqa: RUF001
    yield f"{len(data.records):,}", f"networks evaluated, of {big(data.space_size)} possible"
