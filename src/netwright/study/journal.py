"""What a journal says, with or without the network that it is about."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from sys import intern
from typing import Any

from ..core.candidate import Candidate
from ..core.errors import NetwrightError, StoreError, format_error
from ..core.front import Front, front
from ..core.limits import Limit
from ..core.metric import Metric
from ..core.record import Record
from .stores.base import Store


@dataclass
class Journal:
    """A study's journal, replayed as far as it was read.

    Args:
        candidate: makes a candidate from its choices; a space's own also checks that it is in the space.
        header: what the study is of; None for an empty journal.
        limits: the last that were set.
        found: the last record of each candidate, in the order of measuring, as it was judged then.
        asked: candidates that were asked for and not measured yet, with their provenance.
        again: candidates whose measurement failed, and that are to be measured again.
        attempts: how often measuring a candidate has begun that has no record since, where an entry says so; 0 for one
            whose last attempt was interrupted.
        entries: how many were read.
        last: the record that was read last, judged by the last limits.
    """

    candidate: Callable[[Mapping[str, Any]], Candidate] = Candidate
    header: dict[str, Any] | None = None
    limits: tuple[Limit, ...] = ()
    found: dict[Candidate, Record] = field(default_factory=dict)
    asked: dict[Candidate, dict[str, Any]] = field(default_factory=dict)
    again: set[Candidate] = field(default_factory=set)
    attempts: dict[Candidate, int] = field(default_factory=dict)
    entries: int = 0
    last: Record | None = None
    _objectives: tuple[Metric, ...] = field(default=(), repr=False)
    _judged: dict[Candidate, Record] = field(default_factory=dict, repr=False)
    """What was found, judged by the last limits: each record once, and all when the limits change."""

    @property
    def objectives(self) -> tuple[Metric, ...]:
        """What the study asks for, in order."""
        return self._objectives

    @property
    def records(self) -> list[Record]:
        """Everything known, in the order of measuring, judged by the last limits."""
        return list(self._judged.values())

    @property
    def front(self) -> Front:
        """The non-dominated feasible records."""
        return front(self.records, self.objectives)

    def follow(self, store: Store) -> None:
        """Take in what is new in a store since it was last followed.

        Raises :class:`StoreError` for an entry that cannot be understood.
        """
        with _no_collection():
            self._follow(store)

    def _follow(self, store: Store) -> None:
        for kind, body in store.read(since=self.entries):
            try:
                self._take(kind, body)
            except (AttributeError, LookupError, TypeError, ValueError, NetwrightError) as error:
                why = format_error(error)
                raise StoreError(f"the study holds an entry {kind!r} that cannot be read: {why}") from None
            self.entries += 1

    def _take(self, kind: str, body: dict[str, Any]) -> None:
        match kind:
            case "study":
                self._objectives = tuple(Metric(*entry) for entry in body["objectives"])
                if not self._objectives:
                    raise KeyError("objectives")
                self.header = body
            case "limits":
                self.limits = tuple(Limit(*entry) for entry in body["limits"])
                self._judged = {candidate: each.judged(self.limits) for candidate, each in self.found.items()}
            case "ask":
                asked = {self.candidate(_tuples(c)): body["provenance"] for c in body["candidates"]}
                self.asked.update(asked)
                self.attempts = {c: n for c, n in self.attempts.items() if c not in asked}
            case "attempt":
                number = body["number"]
                if type(number) is not int or number < 0:
                    raise ValueError(f"an attempt has a number, not {number!r}")
                self.attempts[self.candidate(_tuples(body["candidate"]))] = number
            case "record":
                choices = {**body, "candidate": _tuples(body["candidate"])}
                record = Record.from_json(choices, self._objectives, self.candidate)
                if record.candidate in self.found:  # measured again: it counts in its new place
                    del self.found[record.candidate], self._judged[record.candidate]
                self.found[record.candidate] = record
                self._judged[record.candidate] = self.last = record.judged(self.limits)
                self.asked.pop(record.candidate, None)
                self.attempts.pop(record.candidate, None)
                self.again.discard(record.candidate)
            case "retry":
                self.again.update(self.candidate(_tuples(c)) for c in body["candidates"])
            case _:
                raise KeyError(kind)


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


def read_journal(store: Store, candidate: Callable[[Mapping[str, Any]], Candidate] = Candidate) -> Journal:
    """A store's journal, replayed.

    Raises :class:`StoreError` for an entry that cannot be understood.
    """
    journal = Journal(candidate)
    journal.follow(store)
    return journal


def _tuples(choices: Mapping[str, Any]) -> dict[str, Any]:
    return {intern(name): _plain(value) if isinstance(value, list) else value for name, value in choices.items()}


def _plain(value: Any) -> Any:
    return tuple(map(_plain, value)) if isinstance(value, list) else value
