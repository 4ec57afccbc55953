"""What a process knows of a journal that others add to, without asking."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from operator import itemgetter

MOST = 2000
"""Entries that are kept at hand."""

Row = tuple[int, str, str]
"""Number, kind and body of an entry."""


class Recent:
    """The entries that were read or added last, one after another without a gap."""

    def __init__(self) -> None:
        self._first, self._rows = 0, list[Row]()
        self.last = 0
        """How many entries there are, as far as it is known."""

    def note(self, since: int, rows: Sequence[Row]) -> None:
        """Know entries that follow so many others."""
        if not rows or rows[-1][0] <= self.last:
            return
        if since != self.last or len(self._rows) + len(rows) > MOST:
            self._first, self._rows = since, []
        self._rows += rows
        self.last = rows[-1][0]

    def after(self, since: int) -> list[Row] | None:
        """Those that follow so many others, as far as they are known; None where the store must be asked."""
        if since < self._first:
            return None
        return self._rows[bisect(self._rows, since, key=itemgetter(0)) :]
