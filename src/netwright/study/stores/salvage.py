"""The rows of a damaged SQLite file, as far as SQLite reads them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from .faults import is_damage

Row = tuple[int, bytes, bytes, int | None]
"""Number, kind, body and checksum."""

PART = 500


def salvage(connection: sqlite3.Connection, sql: str, since: int) -> Iterator[Row]:
    """The rows with numbers above ``since`` that can be read, in the order of their numbers.

    Args:
        connection: to the file.
        sql: gives :data:`Row` for a number that theirs are above, and the most of them.
        since: the number.

    Raises :class:`sqlite3.Error` for what is no damage.
    """
    connection.text_factory = bytes
    unreadable = 0
    while True:
        last = since
        try:
            for row in _in_order(connection.execute(sql, (since, PART)), since):
                since = row[0]
                yield row
            if since == last:
                return
        except (sqlite3.Error, UnicodeDecodeError) as error:
            if not is_damage(error):
                raise
            # A row that is there is tried once; what it says may lie on another page, and be damaged itself.
            there = since + 1 if since + 1 == unreadable else _next(connection, since)
            if there is None:
                return
            since, unreadable = (there, 0) if there == unreadable else (there - 1, there)


def _in_order(rows: Iterator[Row], since: int) -> Iterator[Row]:
    """Rows whose numbers rise: of two that do not, the first is left out if the second follows what was before."""
    held: Row | None = None
    try:
        for row in rows:
            if row[0] <= since:
                continue
            if held is not None and held[0] < row[0]:
                since = held[0]
                yield held
            held = row
    finally:
        if held is not None:
            yield held


def _next(connection: sqlite3.Connection, since: int) -> int | None:
    """The number of a row above one that can be found, the least as far as that can be told; None where none can."""

    def found(above: int) -> int | None:
        try:
            row = connection.execute("SELECT seq FROM journal WHERE seq > ? ORDER BY seq LIMIT 1", (above,)).fetchone()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            if not is_damage(error):
                raise
            return None
        return row[0] if row and row[0] > above else None

    step = 1
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    lost = since
    while (there := found(lost)) is None:
        if step > pages * size:  # more than there can be entries
            return None
        lost, step = since + step, 2 * step
    low, high = since, lost
    while low < high:
        middle = (low + high) // 2
        if (nearer := found(middle)) is None:
            low = middle + 1
        else:
            high, there = middle, nearer
    return there
