"""Where and with what everything was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ...core.metric import label
from ..data import ReportData
from ..html import escape
from .base import Section


@dataclass(frozen=True)
class Conditions(Section):
    """The target, the versions and the run."""

    heading = "How this was made"

    def html(self, data: ReportData) -> str:
        parts = {"Target": data.target, "Versions": data.versions, "Run": data.facts}
        lists = "".join(f"<section><h4>{name}</h4>{_lines(lines)}</section>" for name, lines in parts.items() if lines)
        return f'<div class="columns">{lists}</div>' if lists else ""


def _lines(lines: Mapping[str, Any]) -> str:
    pairs = (f"<dt>{escape(label(name))}</dt><dd>{escape(str(value))}</dd>" for name, value in _flat(lines))
    return f"<dl>{''.join(pairs)}</dl>"


def _flat(lines: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in lines.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
