"""The terminal: what is printed there is text, whoever wrote it."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from ..core.text import printable


class Terminal(Console):
    """A console that takes no text for markup, and in which escape sequences and the like are seen, not heeded."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **settings)

    def render_str(self, text: str, **settings: Any) -> Text:
        """Whatever is printed as a text, cells of tables too."""
        return super().render_str(printable(text), **settings)
