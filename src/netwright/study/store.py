"""The journal: append-only, read from the beginning."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

Entry = tuple[str, dict[str, Any]]
"""Kind (``study``, ``limits``, ``ask``, ``record`` or ``retry``) and body, a JSON object."""


class Store(ABC):
    """Where a study's journal is kept.

    An entry that :meth:`append` has returned for is never lost, changed or reordered.
    """

    @abstractmethod
    def append(self, kind: str, body: Mapping[str, Any]) -> None:
        """Add an entry."""

    @abstractmethod
    def read(self) -> Iterator[Entry]:
        """All entries in the order in which they were added."""

    def begin(self, kind: str, body: Mapping[str, Any]) -> None:
        """Add the first entry, unless there is one already. Stores that several processes open do so in one step."""
        if next(iter(self.read()), None) is None:
            self.append(kind, body)

    def held(self) -> AbstractContextManager[None]:
        """Measure for this store and no other process meanwhile: two would measure the same networks.

        What is held is let go with the block, and when the process ends, however it does. Raises :class:`StoreError`
        where another holds it. A store that only one process can reach needs nothing.
        """
        return nullcontext()


class MemoryStore(Store):
    """A journal that ends with the process."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []

    def append(self, kind: str, body: Mapping[str, Any]) -> None:
        self._entries.append((kind, copy.deepcopy(dict(body))))

    def read(self) -> Iterator[Entry]:
        yield from copy.deepcopy(self._entries)
