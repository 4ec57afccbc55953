"""The journal: append-only, read from the beginning or from where one was."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from ...core.errors import StoreError, format_error

Entry = tuple[str, dict[str, Any]]
"""Kind (``study``, ``limits``, ``ask``, ``attempt``, ``record`` or ``retry``) and body, a JSON object."""


class Store(ABC):
    """Where a study's journal is kept.

    An entry that :meth:`append` has returned for is never lost, changed or reordered.
    :func:`netwright.testing.check_store` checks a store of one's own.
    """

    @abstractmethod
    def append(self, kind: str, body: Mapping[str, Any]) -> None:
        """Add an entry. Raises :class:`StoreError` for a body that JSON cannot hold, and adds nothing then."""

    @abstractmethod
    def read(self, since: int = 0) -> Iterator[Entry]:
        """The entries in the order in which they were added, but for the first ``since``: who follows a journal gives
        the number of entries that it has read, and reads only what is new."""

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


def body_text(body: Mapping[str, Any]) -> str:
    """The body of an entry as compact JSON.

    Raises :class:`StoreError` for what JSON cannot hold, such as a number that is not finite.
    """
    try:
        return json.dumps(body, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise StoreError(f"a journal holds JSON: numbers, texts, lists and mappings ({format_error(error)})") from None
