"""How often measuring a candidate has begun: one at which the process ends again and again is given up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from ..core.candidate import Candidate
from ..core.errors import NetwrightError
from .failures import ATTEMPTS
from .journal import Journal
from .stores.base import Entries


class Attempts:
    """The attempts of a journal's candidates that have no record.

    Of those that were asked for, the first without a record is the one that was being measured when a process ended;
    entries tell further attempts from that. Where several processes measure for one store, entries tell all.

    Args:
        journal: as far as it was read.
        append: adds an entry to it.
        shared: whether several processes measure for its store.
    """

    def __init__(self, journal: Journal, append: Callable[[str, Mapping[str, Any]], None], shared: bool) -> None:
        self._journal, self._append, self._shared = journal, append, shared
        self.resumed: Candidate | None = None
        """Who may have been measured before by a process that ended."""
        self.begun: Candidate | None = None
        """Who is being measured in this process."""

    @property
    def next(self) -> Candidate | None:
        """The first of those that were asked for: one process measures them in order."""
        return None if self._shared else next(iter(self._journal.asked), None)

    def begin(self, candidate: Candidate) -> bool:
        """Have it journalled that measuring a candidate begins: if the process ends meanwhile, who resumes knows at
        whom. False where that happened too often to try it again."""
        if self.begun == candidate:  # as its claim says
            return True
        if self._shared or candidate == self.resumed or candidate not in self._journal.asked:
            entries = self.entries(candidate)
            if not entries:
                return False
            for entry in entries:
                self._append(*entry)
        self.begun = candidate
        return True

    def entries(self, candidate: Candidate) -> Entries:
        """What the journal says where measuring a candidate begins; nothing where that happened too often."""
        number = self.of(candidate) + 1
        return [("attempt", {"candidate": dict(candidate), "number": number})] if number <= ATTEMPTS else []

    def of(self, candidate: Candidate) -> int:
        """How often measuring a candidate that has no record has begun."""
        return self._journal.attempts.get(candidate, int(candidate == self.next))

    def end(self, candidate: Candidate | None, number: int = 0) -> None:
        """Journal that no candidate was to blame for the end of an attempt: so many are left that count."""
        self.begun = None
        if candidate is not None and self.of(candidate) != number:
            with suppress(NetwrightError):  # what stops the study may stop this too
                self._append("attempt", {"candidate": dict(candidate), "number": number})
