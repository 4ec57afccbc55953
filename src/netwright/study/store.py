"""The journal: append-only, read from the beginning."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

Entry = tuple[str, dict[str, Any]]
"""Kind (``study``, ``ask`` or ``record``) and body, a JSON object."""


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


class MemoryStore(Store):
    """A journal that ends with the process."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []

    def append(self, kind: str, body: Mapping[str, Any]) -> None:
        self._entries.append((kind, copy.deepcopy(dict(body))))

    def read(self) -> Iterator[Entry]:
        yield from copy.deepcopy(self._entries)
