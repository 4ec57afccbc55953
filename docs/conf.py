"""Sphinx settings."""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import reference

reference.main()

project = "netwright"
copyright = "the netwright developers"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "netwright"
myst_heading_anchors = 2
smartquotes = False  # "latency <= 5 ms" is typed as it stands
autodoc_typehints = "description"
autodoc_member_order = "bysource"
autosummary_generate = False
nitpicky = False


def keep_colons(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """In the text of a property, what stands before a colon is no type, as which napoleon reads it."""
    if what in ("property", "attribute") and lines:
        lines[0] = lines[0].replace(": ", " - ", 1)


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", keep_colons, priority=400)  # before napoleon
