"""Pieces of the page as HTML."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

from ..core.metric import Measurement
from ..core.text import printable
from .data import format_measurement


def escape(words: str) -> str:
    """A text that others wrote as a part of a page, or of a chart's label: nothing in it is a tag or steers a page."""
    return html.escape(printable(words))


def code(lines: str) -> str:
    """Lines of code as a part of a page."""
    return "\n".join(map(escape, lines.split("\n")))


def text(words: str) -> str:
    """Escaped, and a number stays on one line with what it counts."""
    return escape(re.sub(r"(?<=[\d\u00d7]) ", "\u00a0", words))


def table(head: Iterable[str], rows: Iterable[str]) -> str:
    """A table of figures; nothing where it has no rows.

    Args:
        head: the cells of its first row, ``<th>...</th>``.
        rows: the others, ``<tr>...</tr>``.
    """
    body = "".join(rows)
    return f'<div class="scroll"><table class="figures"><tr>{"".join(head)}</tr>{body}</table></div>' if body else ""


def value(measurement: Measurement | None) -> str:
    """A measurement with its interval set back."""
    if measurement is None:
        return "&ndash;"
    number, sign, half = format_measurement(measurement).partition(" ± ")
    return f'{escape(number)}<span class="pm">{sign}{escape(half)}</span>'


def percent(share: float) -> str:
    """A share of 1 in percent."""
    return f"{100 * share:.2g}\u00a0%"
