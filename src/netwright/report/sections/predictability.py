"""How well metrics can be predicted."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.metric import label
from ...core.units import format_value
from ..data import ReportData
from ..html import escape, percent, table
from .base import Section


@dataclass(frozen=True)
class Predictability(Section):
    """How well each metric can be predicted from the other records."""

    heading = "The search"

    def html(self, data: ReportData) -> str:
        if not data.predicted:
            return ""
        units = {metric.name: metric.unit for metric in data.metrics}
        rows = [
            f"<tr><td>{escape(label(name))}</td><td>{s.kendall:.2f}</td><td>{s.spearman:.2f}</td>"
            f"<td>{escape(format_value(float(f'{s.rmse:.2g}'), units.get(name, '')))}</td>"
            f"<td>{percent(s.calibration)}</td></tr>"
            for name, s in data.predicted.items()
        ]
        head = ["metric", "Kendall's tau", "Spearman's rho", "error (RMS)", "within 95 % intervals"]
        words = (
            '<p class="quiet">How well each metric can be predicted from the other records (five-fold '
            "cross-validation of the Gaussian process): what guided proposals stand on.</p>"
        )
        return f"{words}{table([f'<th>{x}</th>' for x in head], rows)}"
