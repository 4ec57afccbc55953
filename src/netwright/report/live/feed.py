"""What the live page is told of one study: only what is new since it last asked."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import takewhile
from threading import Lock
from typing import Any

from ...core.errors import NetwrightError, format_error
from ...core.record import Record
from ...study.journal import Journal
from ...study.stores.base import BadEntry, Store

PART = 2000
"""Records that are told at once."""

SHOWN = 64
"""Candidates, of those that are waiting or being measured, that are told."""


class Feed:
    """A study's journal, followed.

    Args:
        name: of the study.
        store: where its journal is; it is only read.
        wanted: how many records it is to hold, as far as somebody knows.
    """

    def __init__(self, name: str, store: Store, wanted: Callable[[], int | None] = lambda: None) -> None:
        self.name, self._store, self._wanted = name, store, wanted
        self._journal, self._bad = Journal(), list[BadEntry]()
        self._told: list[Record] = []
        self._begun, self._epoch = time.time_ns(), 0
        self._problem = ""
        self._lock = Lock()

    def look(self) -> tuple[str, int, int, str]:
        """Take in what is new; what is different whenever there is something to tell."""
        with self._lock:
            self._follow()
            return self._key, len(self._told), self._journal.entries, self._problem

    def tell(self, since: int = 0) -> dict[str, Any]:
        """The study as JSON values, with the records after the first so many.

        Where ``epoch`` is another than the last time, all records are judged anew, and are to be asked for again. A
        record with an ``id`` that was told before takes its place.
        """
        with self._lock:
            self._follow()
            journal, records = self._journal, self._told[since : since + PART]
            header = journal.header or {}
            return {
                "name": self.name,
                "epoch": self._key,
                "count": len(self._told),
                "next": min(since + PART, len(self._told)),
                "records": [_record(each) for each in records],
                "objectives": [{"name": m.name, "unit": m.unit, "direction": m.direction} for m in journal.objectives],
                "limits": list(map(str, journal.limits)),
                "choices": header.get("choices") or {},
                "pending": [dict(candidate) for candidate in list(journal.asked)[:SHOWN]],
                "waiting": len(journal.asked),
                "wanted": self._wanted(),
                "unreadable": len(self._bad),
                "problem": self._problem,
            }

    @property
    def _key(self) -> str:
        return f"{self._begun}-{self._epoch}"

    def _follow(self) -> None:
        """Take in what is new, with what is wrong with it."""
        limits = self._journal.limits
        try:
            self._journal.follow(self._store, self._bad.append)
            self._problem = ""
        except NetwrightError as error:
            self._problem = format_error(error)
            return
        if self._journal.limits != limits:  # which all records are judged by
            self._epoch += 1
            self._told = list(self._journal.judged)
            return
        last = self._told[-1] if self._told else None
        new = list(takewhile(lambda record: record is not last, reversed(self._journal.judged)))
        self._told += reversed(new)


def _record(record: Record) -> dict[str, Any]:
    """A record as the page needs it."""
    about = record.provenance
    return {
        "id": record.id,
        "status": record.status,
        "reason": record.reason,
        "candidate": dict(record.candidate),
        "values": dict(record.values),
        "ci95": {name: m.ci95 for name, m in record.measurements.items() if m.ci95},
        "units": {name: m.unit for name, m in record.measurements.items()},
        "open": sorted(record.best_cases),
        "time": about.get("time"),
        "seconds": about.get("seconds"),
    }
