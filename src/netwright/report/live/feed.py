"""What the live page is told of one study: what it is, the figures of all records, and single records whole.

Figures are told as an array of numbers, so that a browser holds those of 100,000 records and filters, ranks and draws
them itself; all else of a record is told when it is asked for.
"""

from __future__ import annotations

import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from threading import Lock
from typing import Any

import numpy as np

from ...core.candidate import Candidate
from ...core.errors import NetwrightError, format_error
from ...core.front import is_comparable
from ...core.record import Record
from ...study.journal import Journal
from ...study.stores.base import BadEntry, Store
from .bundles import Bundles

SHOWN = 64
"""Candidates, of those that are waiting or being measured, that are told."""

RECENT = 21
"""Records whose times are told, from which it is guessed how long the others will take."""

MOST_REASONS = 50
"""Reasons of failures that are told, the commonest."""

MOST_RECORDS = 200
"""Records that are told at once."""

STATUSES = ("whole", "partial", "infeasible", "failed")
"""Of records, by number: a whole one is feasible and was measured whole in all objectives."""


class Feed:
    """A study's journal, followed.

    A record has its place in the order in which networks were first measured, as long as the feed lasts.

    Args:
        name: of the study.
        store: where its journal is; it is only read.
        wanted: how many records it is to hold, as far as somebody knows.
        workers: how many evaluate at once, as far as somebody knows.
        bundles: the networks that were exported, where there is a place for them.
    """

    def __init__(
        self,
        name: str,
        store: Store,
        wanted: Callable[[], int | None] = lambda: None,
        workers: Callable[[], int | None] = lambda: None,
        bundles: Bundles | None = None,
    ) -> None:
        self.name, self.bundles, self._store, self._wanted, self._workers = name, bundles, store, wanted, workers
        self._journal, self._bad = Journal(), list[BadEntry]()
        self._records: list[Record] = []
        self._places: dict[Candidate, int] = {}
        self._units: dict[str, str] = {}
        self._figures = array("d")
        self._begun, self._epoch = time.time_ns(), 0
        self._problem, self._missed = "", False
        self._lock = Lock()

    def look(self) -> tuple[str, int, int, str, list[str]]:
        """Take in what is new; what is different whenever there is something to tell."""
        with self._lock:
            self._follow()
            exported = self.bundles.ids if self.bundles else []
            return self._key, len(self._records), self._journal.entries, self._problem, exported

    def about(self) -> dict[str, Any]:
        """The study as JSON values, without its records.

        Where ``epoch`` is another than the last time, the figures of all records are to be asked for again; where its
        part before the hyphen is, places are others too.
        """
        with self._lock:
            self._follow()
            journal, header = self._journal, self._journal.header or {}
            asked = list(islice(journal.asked, SHOWN))
            return {
                "name": self.name,
                "epoch": self._key,
                "count": len(self._records),
                "metrics": [{"name": name, "unit": unit} for name, unit in self._units.items()],
                "objectives": [{"name": m.name, "unit": m.unit, "direction": m.direction} for m in journal.objectives],
                "limits": list(map(str, journal.limits)),
                "choices": header.get("choices") or {},
                "pending": [{"candidate": dict(c), "by": journal.claims.get(c, "")} for c in asked],
                "waiting": len(journal.asked),
                "workers": self._workers(),
                "wanted": self._wanted(),
                "times": [r.provenance.get("time") for r in self._records[-RECENT:]],
                "failures": self._failures(),
                "bundles": self.bundles.roles() if self.bundles else {},
                "export": self.bundles.command if self.bundles else "",
                "unreadable": len(self._bad),
                "problem": self._problem,
            }

    def figures(self, since: int = 0) -> tuple[str, bytes]:
        """The epoch, and the records from a place on as rows of float64, the least significant byte first: each the
        number of its status in :data:`STATUSES` and the values of all metrics in their order, NaN where there is
        none."""
        with self._lock:
            width = 1 + len(self._units)
            rows = np.frombuffer(self._figures, dtype=np.float64)[since * width :]
            return self._key, rows.astype("<f8").tobytes()

    def records(self, places: Sequence[int]) -> tuple[str, list[dict[str, Any]]]:
        """The epoch, and the records at places, as far as there are any, as JSON values."""
        with self._lock:
            told = [self._told(place) for place in places[:MOST_RECORDS] if place < len(self._records)]
            return self._key, told

    @property
    def _key(self) -> str:
        return f"{self._begun}-{self._epoch}"

    def _told(self, place: int) -> dict[str, Any]:
        record = self._records[place]
        return {
            "place": place,
            "id": record.id,
            "status": record.status,
            "reason": record.reason,
            "candidate": dict(record.candidate),
            "ci95": {name: m.ci95 for name, m in record.measurements.items() if m.ci95},
            "open": sorted(record.best_cases),
        }

    def _failures(self) -> list[dict[str, Any]]:
        """Why networks failed, the commonest reason first, each with how many did, and some of them."""
        width = 1 + len(self._units)
        statuses = np.frombuffer(self._figures, dtype=np.float64)[::width]
        failed = [self._records[i] for i in np.flatnonzero(statuses == STATUSES.index("failed")).tolist()]
        found: list[dict[str, Any]] = []
        for reason, count in Counter(r.reason for r in failed).most_common(MOST_REASONS):
            some = islice((r.id for r in failed if r.reason == reason), 5)
            found.append({"reason": reason, "count": count, "ids": list(some)})
        return found

    # -- following ---------------------------------------------------------------------------------------------------

    def _follow(self) -> None:
        """Take in what is new, with what is wrong with it."""
        try:
            new = self._journal.follow(self._store, self._bad.append)
            self._problem = ""
        except NetwrightError as error:
            self._problem, self._missed = format_error(error), True  # what was read before it is not known here
            return
        if new is None or self._missed:
            self._missed = False
            self._take(r.candidate for r in self._journal.judged)
            self._rebuild()
        elif new and self._take(dict.fromkeys(new)):
            self._rebuild()

    def _take(self, candidates: Iterable[Candidate]) -> bool:
        """Know the records of candidates; whether figures that were told are others now."""
        again = False
        for candidate in candidates:
            record = self._journal.judged_of(candidate)
            place = self._places.setdefault(candidate, len(self._records))
            if place < len(self._records):
                self._records[place], again = record, True
                continue
            self._records.append(record)
            if not record.values.keys() <= self._units.keys():
                self._units |= {name: m.unit for name, m in record.measurements.items() if name not in self._units}
                again = True
            if not again:
                self._figures.extend(self._row(record))
        return again

    def _rebuild(self) -> None:
        """Read all figures anew."""
        self._epoch += 1
        self._figures = array("d", (value for record in self._records for value in self._row(record)))

    def _row(self, record: Record) -> list[float]:
        status: str = record.status
        if status == "ok":
            whole = is_comparable(record, [m.name for m in self._journal.objectives])
            status = "whole" if whole else "partial"
        return [float(STATUSES.index(status)), *(_number(record.values, name) for name in self._units)]


def _number(values: Mapping[str, float], name: str) -> float:
    """A value as a float; NaN where there is none, or it is too large for one."""
    try:
        return float(values.get(name, np.nan))
    except OverflowError:
        return float(np.nan)
