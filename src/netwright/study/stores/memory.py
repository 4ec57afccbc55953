"""The journal in this process's memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .base import Entry, Store, body_of, body_text


class MemoryStore(Store):
    """A journal that ends with the process."""

    def __init__(self) -> None:
        self._entries: list[tuple[str, str]] = []

    def append(self, kind: str, body: Mapping[str, Any]) -> None:
        self._entries.append((kind, body_text(body)))

    def read(self, since: int = 0) -> Iterator[Entry]:
        while since < len(self._entries):  # also what is added meanwhile
            kind, text = self._entries[since]
            yield kind, body_of(text)
            since += 1
