"""The journal: append-only, read from the beginning or from where one was."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NoReturn

from ...core.errors import MachineFault, StoreError, format_error
from ...core.files import MOST_DEPTH, parse_json

Entry = tuple[str, dict[str, Any]]
"""Kind (``study``, ``limits``, ``ask``, ``claim``, ``attempt``, ``record`` or ``retry``) and body, a JSON object."""


Body = Mapping[str, Any] | str
"""A body, or the JSON text of it."""

LOST = 100
"""Entries in a row that cannot be read: then it is the store that cannot."""


@dataclass(frozen=True)
class BadEntry:
    """An entry that cannot be read, or several that are missing.

    Args:
        number: which one: 1 is the first.
        why: what is wrong with it.
        last: the last of several.
    """

    number: int
    why: str
    last: int = 0

    @property
    def end(self) -> int:
        """The number of the last of them."""
        return self.last or self.number

    def __str__(self) -> str:
        if self.last > self.number:
            return f"entries {self.number} to {self.last} cannot be read ({self.why})"
        return f"entry {self.number} cannot be read ({self.why})"


Bad = Callable[[BadEntry], None]
"""Is told of each entry that cannot be read."""

Entries = Sequence[tuple[str, Mapping[str, Any]]]
"""Some that are to be added, in order."""


class Store(ABC):
    """Where a study's journal is kept.

    An entry that :meth:`append` has returned for is never lost, changed or reordered.
    :func:`netwright.testing.check_store` checks a store of one's own.
    """

    shared: bool = False
    """Whether several processes may measure for it at once: each then claims what it evaluates."""
    member: str = ""
    """Of a shared store: who this process is among those that measure for it, while it holds the store."""

    @property
    def place(self) -> str:
        """Where it is, in words."""
        return str(getattr(self, "path", "the store"))

    @abstractmethod
    def append(self, kind: str, body: Mapping[str, Any]) -> None:
        """Add an entry. Raises :class:`StoreError` for a body that JSON cannot hold, and adds nothing then."""

    def append_all(self, entries: Entries) -> None:
        """Add several entries, in order: a store that can does so in one step."""
        for kind, body in entries:
            self.append(kind, body)

    def add(self, decide: Callable[[], Entries]) -> None:
        """Add the entries that ``decide`` gives while nobody else adds any: what it reads of the store is all there is.
        It is asked again where others have added some meanwhile, or it is not known whether what it gave was kept."""
        entries = decide()
        if len(entries) == 1:
            self.append(*entries[0])
        elif entries:
            self.append_all(entries)

    @abstractmethod
    def read(self, since: int = 0) -> Iterator[Entry]:
        """The entries in the order in which they were added, but for the first ``since``: who follows a journal gives
        the number of entries that it has read, and reads only what is new."""

    def scan(self, since: int = 0) -> Iterator[Entry | BadEntry]:
        """As :meth:`read`, for who reads what can be read: each entry that cannot is named, and the others follow.

        Raises what :meth:`read` raises where nothing can be read.
        """
        failed = 0
        while True:
            try:
                for entry in self.read(since):
                    yield entry
                    since, failed = since + 1, 0
                return
            except Exception as error:  # whatever a store of one's own makes of what it cannot read
                if isinstance(error, MachineFault) or (failed := failed + 1) > LOST:
                    raise
                since += 1
                yield BadEntry(since, format_error(error))

    def numbered(self, since: int = 0, bad: Bad | None = None) -> Iterator[tuple[int, str, Body]]:
        """The entries with their numbers, for who follows the journal: those of :meth:`read`, or with ``bad``, which
        is told of the others, of :meth:`scan`. A store that keeps bodies as texts may give these."""
        if bad is None:
            for number, (kind, body) in enumerate(self.read(since), since + 1):
                yield number, kind, body
            return
        for each in self.scan(since):
            if isinstance(each, BadEntry):
                since = each.end
                bad(each)
            else:
                since += 1
                yield since, *each

    def added(self, since: int) -> Iterator[tuple[int, str, Body]]:
        """As :meth:`numbered`, for who has just added entries, up to these: a store that has them at hand need not be
        asked."""
        return self.numbered(since)

    def refuse(self, bad: BadEntry) -> NoReturn:
        """Raise the :class:`StoreError` of who goes on with a study, and needs all entries for that."""
        raise StoreError(f"{bad} in the study, and a search needs all of them")

    def begin(self, kind: str, body: Mapping[str, Any]) -> None:
        """Add the first entry, unless there is one already. Stores that several processes open do so in one step."""
        self.add(lambda: [(kind, body)] if next(iter(self.read()), None) is None else [])

    def held(self) -> AbstractContextManager[None]:
        """Measure for this store and no other process meanwhile: two would measure the same networks.

        What is held is let go with the block, and when the process ends, however it does. Raises :class:`StoreError`
        where another holds it. A store that only one process can reach needs nothing. Of a shared store this process is
        a :attr:`member` meanwhile, and no other is in its way.
        """
        return nullcontext()

    def members(self) -> frozenset[str]:
        """Who holds a shared store now: of those that have ended without a word not for long."""
        return frozenset()

    def present(self, names: Set[str]) -> Set[str]:
        """Those of these members that hold a shared store still, or did so a moment ago."""
        return names & self.members()


class TextStore(Store):
    """A store that keeps the bodies as texts: :meth:`numbered` is how it is read."""

    @abstractmethod
    def numbered(self, since: int = 0, bad: Bad | None = None) -> Iterator[tuple[int, str, str]]: ...

    def read(self, since: int = 0) -> Iterator[Entry]:
        for number, kind, text in self.numbered(since):
            try:
                entry = kind, body_of(text)
            except ValueError as error:
                self.refuse(BadEntry(number, str(error)))
            yield entry

    def scan(self, since: int = 0) -> Iterator[Entry | BadEntry]:
        bad: list[BadEntry] = []
        for number, kind, text in self.numbered(since, bad.append):
            yield from bad
            bad.clear()
            try:
                yield kind, body_of(text)
            except ValueError as error:
                yield BadEntry(number, str(error))
        yield from bad


def body_text(body: Mapping[str, Any]) -> str:
    """The body of an entry as compact JSON.

    Raises :class:`StoreError` for what JSON cannot hold, such as a number that is not finite, and for what is nested
    more than a hundred times.
    """
    try:
        text = json.dumps(body, separators=(",", ":"), allow_nan=False)
        if text.count("[") + text.count("{") > MOST_DEPTH:
            parse_json(text)
        return text
    except (TypeError, ValueError, RecursionError) as error:
        raise StoreError(f"a journal holds JSON: numbers, texts, lists and mappings ({format_error(error)})") from None


def body_of(text: str) -> dict[str, Any]:
    """The body of an entry from its text.

    Raises ValueError, which says what is wrong, for what :func:`body_text` does not write.
    """
    body = parse_json(text)
    if not isinstance(body, dict):
        raise ValueError("it is no JSON object")
    return body
