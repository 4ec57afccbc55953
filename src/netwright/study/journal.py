"""What a journal says, with or without the network that it is about."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Reversible, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ..core.candidate import Candidate
from ..core.errors import NetwrightError, StoreError, format_error
from ..core.front import Front, front
from ..core.limits import Limit
from ..core.metric import Metric
from ..core.record import Record
from ..core.shape import expect
from .entries import ASK, ATTEMPT, CLAIM, KINDS, RETRY, check_record, choices_of, limits_of, objectives_of
from .record_text import RecordReader
from .stores.base import Bad, BadEntry, Store, body_of

T = TypeVar("T")

UNREADABLE = (ValueError, NetwrightError)
"""What reading an entry raises that is none."""


@dataclass
class Journal:
    """A study's journal, replayed as far as it was read.

    Args:
        candidate: makes a candidate from its choices; a space's own also checks that it is in the space.
        header: what the study is of; None for an empty journal.
        limits: the last that were set.
        found: the last record of each candidate, in the order of measuring, as it was judged then.
        asked: candidates that were asked for and not measured yet, with their provenance.
        claims: who evaluates candidates that have no record since, where several processes measure for one store.
        again: candidates whose measurement failed, and that are to be measured again.
        attempts: how often measuring a candidate has begun that has no record since, where an entry says so; 0 for one
            whose last attempt was interrupted.
        entries: how many were read.
    """

    candidate: Callable[[Mapping[str, Any]], Candidate] = Candidate
    header: dict[str, Any] | None = None
    limits: tuple[Limit, ...] = ()
    found: dict[Candidate, Record] = field(default_factory=dict)
    asked: dict[Candidate, dict[str, Any]] = field(default_factory=dict)
    claims: dict[Candidate, str] = field(default_factory=dict)
    again: set[Candidate] = field(default_factory=set)
    attempts: dict[Candidate, int] = field(default_factory=dict)
    entries: int = 0
    _objectives: tuple[Metric, ...] = field(default=(), repr=False)
    _judged: dict[Candidate, Record] = field(default_factory=dict, repr=False)
    """What was found, judged by the last limits: each record once, and all when the limits change."""
    _pending: dict[str, tuple[str, int]] = field(default_factory=dict, repr=False)
    """What was asked for in the entries that are being read, as it is written: choices to provenance and entry."""
    _taken: dict[str, tuple[str, int]] = field(default_factory=dict, repr=False)
    """What was claimed in them, as it is written: choices to who has, and entry."""
    _begun: dict[str, tuple[int, int]] = field(default_factory=dict, repr=False)
    """The attempts in them, as they are written: choices to number and entry."""
    _new: list[Candidate] | None = field(default=None, repr=False)
    """Whose records were taken in, in order; None where more than records is new."""
    _wrong: list[BadEntry] = field(default_factory=list, repr=False)
    _reader: RecordReader = field(default_factory=RecordReader, repr=False)

    @property
    def objectives(self) -> tuple[Metric, ...]:
        """What the study asks for, in order."""
        return self._objectives

    @property
    def records(self) -> list[Record]:
        """Everything known, in the order of measuring, judged by the last limits."""
        return list(self.judged)

    @property
    def judged(self) -> Reversible[Record]:
        """The same as a view, which takes no time."""
        return self._judged.values()

    def judged_of(self, candidate: Candidate) -> Record:
        """The last record of a candidate that has one, judged by the last limits."""
        return self._judged[candidate]

    @property
    def front(self) -> Front:
        """The non-dominated feasible records. Raises :class:`StoreError` where it cannot be read what is asked for."""
        if self.entries and self.header is None:
            raise StoreError(
                "nobody knows which networks are best: the entry that says what the study is of cannot be read; "
                "'netwright records' shows what was measured"
            )
        return front(self.records, self.objectives)

    def follow(self, store: Store, bad: Bad | None = None, *, added: bool = False) -> Sequence[Candidate] | None:
        """Take in what is new in a store since it was last followed; of what was just ``added`` the store need not be
        asked.

        Returns whose records are new, in order; None where entries say something of all records.

        Raises :class:`StoreError` for an entry that cannot be read; with ``bad`` this is told of each, and the others
        are taken in.
        """
        told = bad or store.refuse
        self._new = []
        with _no_collection():
            for number, kind, body in store.added(self.entries) if added else store.numbered(self.entries, bad):
                try:
                    if isinstance(body, str):
                        self._take_text(number, kind, body)
                    else:
                        self.take(kind, body)
                except UNREADABLE as error:
                    told(BadEntry(number, f"{kind!r}: {format_error(error)}"))
                self.entries = number
            self._resolve()
        for wrong in self._wrong:
            told(wrong)
        self._wrong.clear()
        return self._new

    def take(self, kind: str, body: Mapping[str, Any]) -> None:
        """Take in an entry. Raises one of ``UNREADABLE`` for what is none, and has taken in nothing then."""
        match kind:
            case "record":
                record = Record.from_json(body, self._objectives, self._candidate)
                check_record(record)
                self._add(record)
            case "study":
                self._objectives, self.header = objectives_of(body), dict(body)
            case "limits":
                self.limits, self._new = limits_of(body), None
                self._judged = {candidate: each.judged(self.limits) for candidate, each in self.found.items()}
            case "ask":
                found = expect(body, ASK)
                self._ask({self._candidate(choices): found["provenance"] for choices in found["candidates"]})
            case "claim":
                found = expect(body, CLAIM)
                self.claims[self._candidate(found["candidate"])] = found["by"]
            case "attempt":
                found = expect(body, ATTEMPT)
                self.attempts[self._candidate(found["candidate"])] = found["number"]
            case "retry":
                self.again.update(map(self._candidate, expect(body, RETRY)["candidates"]))
                self._new = None
            case _:
                raise ValueError(f"there is no such kind; known are: {', '.join(KINDS)}")

    def _candidate(self, choices: Any) -> Candidate:
        return self.candidate(choices_of(choices))

    def _ask(self, asked: Mapping[Candidate, dict[str, Any]]) -> None:
        self.asked.update(asked)
        if self.attempts:
            self.attempts = {c: n for c, n in self.attempts.items() if c not in asked}

    # -- texts: read no further than is asked for --------------------------------------------------------------

    def _take_text(self, number: int, kind: str, text: str) -> None:
        """Take in an entry of which only the text is known."""
        if kind == "record":
            self._take_record(text)
        elif kind == "ask" and (found := self._reader.asked(text)) is not None:
            choices, provenance = found  # most are measured in what follows, and never looked at
            if self._begun:
                self._resolve()  # those of these candidates are forgotten
            self._pending.update(dict.fromkeys(choices, (provenance, number)))
        elif kind == "claim" and (claim := self._reader.claimed(text)) is not None:
            self._taken[claim[0]] = claim[1], number
        elif kind == "attempt" and (attempt := self._reader.attempted(text)) is not None:
            self._begun[attempt[0]] = attempt[1], number
        else:
            self._resolve()
            self.take(kind, body_of(text))

    def _take_record(self, text: str) -> None:
        parts = self._reader.parts(text)
        candidate = self._candidate_from(parts[0][0]) if parts else None
        if parts is None or candidate is None:
            self._resolve()
            self.take("record", body_of(text))
            return
        self._taken.pop(parts[0][0], None)
        self._begun.pop(parts[0][0], None)
        if self._pending.pop(parts[0][0], None) is None:
            self._resolve()  # it may have been asked for in other words
        self._add(self._reader.record(parts, candidate, self._objectives))

    def _candidate_from(self, text: str) -> Candidate | None:
        """The candidate whose choices are written so, if all of them are scalars."""
        choices = self._reader.choices(text)
        if choices is None:
            return None
        return Candidate.of_options(choices) if self.candidate is Candidate else self.candidate(choices)

    def _candidate_of(self, text: str) -> Candidate:
        """The candidate whose choices are written so. Raises one of ``UNREADABLE``."""
        return self._candidate_from(text) or self._candidate(body_of(f"{{{text}}}"))

    def _resolve(self) -> None:
        """Know the candidates that were asked for, claimed or begun, and are still as they were written."""
        pending, self._pending = self._pending, {}
        entries: dict[int, list[str]] = {}
        for written, (_, number) in pending.items():
            entries.setdefault(number, []).append(written)
        for number, several in entries.items():
            try:
                provenance = body_of(pending[several[0]][0])
                self._ask({self._candidate_of(written): provenance for written in several})
            except UNREADABLE as error:
                self._wrong.append(BadEntry(number, f"'ask': {format_error(error)}"))
        taken, self._taken = self._taken, {}
        for written, (by, number) in taken.items():
            self._note("claim", number, written, self.claims, by)
        begun, self._begun = self._begun, {}
        for written, (count, number) in begun.items():
            self._note("attempt", number, written, self.attempts, count)

    def _note(self, kind: str, number: int, written: str, known: dict[Candidate, T], value: T) -> None:
        """Know what an entry says of a candidate."""
        try:
            known[self._candidate_of(written)] = value
        except UNREADABLE as error:
            self._wrong.append(BadEntry(number, f"{kind!r}: {format_error(error)}"))

    def _add(self, record: Record) -> None:
        candidate = record.candidate
        before = len(self.found)
        self.found[candidate] = record
        if len(self.found) == before:  # measured again: it counts in its new place
            del self.found[candidate], self._judged[candidate]
            self.found[candidate] = record
        self._judged[candidate] = record.judged(self.limits)
        if self._new is not None:
            self._new.append(candidate)
        if self.asked:
            self.asked.pop(candidate, None)
        if self.claims:
            self.claims.pop(candidate, None)
        if self.attempts:
            self.attempts.pop(candidate, None)
        if self.again:
            self.again.discard(candidate)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Nothing of a journal is garbage while it is read; looking for some would take longer than reading."""
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()


def read_header(store: Store) -> dict[str, Any] | None:
    """What a store's study is of, without the rest of the journal; None where nothing says so.

    Raises :class:`StoreError` for an entry before it that cannot be read.
    """
    return next((body for kind, body in store.read() if kind == "study"), None)


def read_journal(
    store: Store, candidate: Callable[[Mapping[str, Any]], Candidate] = Candidate, bad: Bad | None = None
) -> Journal:
    """A store's journal, replayed.

    Raises :class:`StoreError` for an entry that cannot be read; with ``bad`` this is told of each, and the others are
    read.
    """
    journal = Journal(candidate)
    journal.follow(store, bad)
    return journal
