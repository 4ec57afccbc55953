"""The journal in this process's memory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from .base import Entry, Store, body_text


class MemoryStore(Store):
    """A journal that ends with the process."""

    def __init__(self) -> None:
        self._entries: list[tuple[str, str]] = []

    def append(self, kind: str, body: Mapping[str, Any]) -> None:
        self._entries.append((kind, body_text(body)))

    def read(self, since: int = 0) -> Iterator[Entry]:
        for kind, text in islice(list(self._entries), since, None):
            yield kind, json.loads(text)
