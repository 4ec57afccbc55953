"""The report: one HTML page that needs nothing else, not even a network connection."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path

from ..core.errors import NetwrightError, format_error
from ..core.files import write_atomically
from .data import ReportData
from .html import escape
from .sections import SECTIONS, STANDARD, Section

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline' 'unsafe-eval'; img-src data: blob:"
"""Even a mistake of ours loads nothing. Plotly compiles its shaders, which counts as eval."""


def write_page(data: ReportData, path: str | Path, sections: Iterable[Section | str] = STANDARD) -> None:
    """Write the page to ``path``, at once: a reader sees the old page or the new one, never half of one.

    Args:
        data: what there is to show.
        path: the file to write.
        sections: what is shown, in this order.

    Raises:
        NetwrightError: a section cannot be made, or raises.
        OSError: the directory is missing or cannot be written.
    """
    path = Path(path)
    write_atomically(path, render(data, sections).encode("utf-8", errors="backslashreplace"))


def render(data: ReportData, sections: Iterable[Section | str] = STANDARD) -> str:
    """The page as HTML: style, script and plotly.js inside, every text escaped, nothing to load."""
    from plotly.offline import get_plotlyjs

    source = files(__package__)
    body = "\n".join(_parts(data, [SECTIONS.make(each) for each in sections]))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(data.title)}</title>
<link rel="icon" href="data:,">
<style>{"".join(source.joinpath(name).read_text("utf-8") for name in ("base.css", "page.css"))}</style>
<script>{get_plotlyjs()}</script>
</head>
<body>
<main>
{body}
<footer>Written by netwright. This page is one file and loads nothing from the network.</footer>
</main>
<script>{source.joinpath("page.js").read_text("utf-8")}</script>
</body>
</html>
"""


def _parts(data: ReportData, sections: Iterable[Section]) -> Iterator[str]:
    """The sections that have something to show, below their headings."""
    heading = ""
    for section in sections:
        body = _html(section, data)
        if body and section.heading not in ("", heading):
            yield f"<h2>{escape(section.heading)}</h2>"
        if body:
            heading = section.heading
            yield body


def _html(section: Section, data: ReportData) -> str:
    what = f"the report section {SECTIONS.text(section)}"
    try:
        body = section.html(data)
    except Exception as error:  # a person's own code
        raise NetwrightError(f"{what} raised {format_error(error)}") from error
    if not isinstance(body, str):
        raise NetwrightError(f"{what} must give HTML as a text, not a {type(body).__name__}")
    return body
