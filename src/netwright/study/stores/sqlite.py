"""The journal in one SQLite file."""

from __future__ import annotations

import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from ...core.errors import CallError, StoreError
from ...core.temporary import TemporaryFolder
from .base import Bad, BadEntry, Entries, TextStore, body_text
from .faults import damaged, database_error, file_error, is_damage, mend
from .lock import held
from .salvage import Row, salvage

APPLICATION_ID = 0x6E777267  # "nwrg"
FORMAT = 2
"""The column with the checksums came with 2; studies of 1 are read, and gone on with, without."""

PART = 2000
"""Entries that are read at a time."""


def checksum(kind: bytes, text: bytes) -> int:
    """The CRC-32 of an entry: no flipped bit leaves it as it is."""
    return zlib.crc32(text, zlib.crc32(kind + b" "))


def insert(connection: sqlite3.Connection, kind: str, text: str) -> None:
    """Add an entry with its checksum."""
    row = (kind, text, checksum(kind.encode(), text.encode()))
    connection.execute("INSERT INTO journal (kind, body, sum) VALUES (?, ?, ?)", row)


def write_entries(store: SqliteStore, entries: Iterable[tuple[str, str]]) -> None:
    """Add entries, of which the bodies are texts, in one step."""
    with closing(sqlite3.connect(store.path)) as connection, connection:
        for kind, text in entries:
            insert(connection, kind, text)


class SqliteStore(TextStore):
    """A journal in a table ``journal(seq INTEGER PRIMARY KEY, kind TEXT, body TEXT, sum INTEGER)``; bodies are JSON
    objects, sums are :func:`checksum`.

    What :meth:`append` adds, and what :meth:`append_all` does, is one transaction, on disk before it returns. A damaged
    file is read as far as SQLite reads it, and never written to.

    Args:
        path: of the file; it is made on first use, with its directory, unless ``must_exist``.
        must_exist: refuse a path where there is no file.
        read_only: have SQLite itself write nothing, whatever is asked for.
    """

    def __init__(self, path: str | Path, *, must_exist: bool = False, read_only: bool = False) -> None:
        if not isinstance(path, str | Path):
            raise CallError(f"a study is kept in a file, by its path, not in a {type(path).__name__}")
        self.path, self._mode = Path(path), "ro" if read_only else "rw"
        try:
            exists = self.path.exists()
        except OSError as error:
            raise file_error(self.path, error) from None
        if "\0" in str(path) or (exists and not self.path.is_file()):  # a pipe would be waited for
            raise StoreError(f"{str(path)!r} is no file; a study is kept in one, such as runs/study.db")
        if not exists:
            if must_exist:
                raise StoreError(f"there is no study at {self.path}; 'netwright fit' or 'netwright search' makes one")
            self._create()
        self._check()

    def append(self, kind: str, body: Mapping[str, Any]) -> None:
        self.append_all([(kind, body)])

    def append_all(self, entries: Entries) -> None:
        texts = [(kind, body_text(body)) for kind, body in entries]
        self._require_whole()
        with closing(self._open()) as connection, self._told(), connection:
            for kind, text in texts:
                self._insert(connection, kind, text)

    def begin(self, kind: str, body: Mapping[str, Any]) -> None:
        text = body_text(body)
        self._require_whole()
        with closing(self._open()) as connection, self._told(), connection:
            connection.execute("BEGIN IMMEDIATE")
            if connection.execute("SELECT 1 FROM journal LIMIT 1").fetchone() is None:
                self._insert(connection, kind, text)

    def held(self) -> AbstractContextManager[None]:
        return held(self.path)

    def numbered(self, since: int = 0, bad: Bad | None = None) -> Iterator[tuple[int, str, str]]:
        """The entries as texts whose checksums are right."""
        told = bad or self.refuse
        if bad is None:
            self._require_whole()
        for number, kind, body, found in self._rows(since):
            if number > since + 1:
                told(BadEntry(since + 1, "nothing is there", number - 1))
            since = number
            try:
                if self._has_sums and found != checksum(kind, body):
                    raise ValueError("its checksum is not that of what was written")
                entry = number, kind.decode(), body.decode()
            except (TypeError, ValueError) as error:
                told(BadEntry(number, "it is no text" if isinstance(error, TypeError | UnicodeError) else str(error)))
                continue
            yield entry
        if damage := self._damage:
            told(BadEntry(since + 1, f"the file is damaged, so that more may have followed: {damage[:100]}"))

    def refuse(self, bad: BadEntry) -> NoReturn:
        raise StoreError(f"{self.path}: {bad}; {mend(self.path)}")

    def _rows(self, since: int) -> Iterator[Row]:
        """The rows after the first so many, as bytes, whatever became of them."""
        if self._damage:
            with closing(self._open(strict=False)) as connection, self._told():
                yield from salvage(connection, self._sql, since)
            return
        # Nothing is ever deleted, so that the entries are numbered 1, 2, 3, ... They are read in parts: while one is
        # looked at, nothing is open that would be in a writer's way.
        while True:
            with closing(self._open()) as connection, self._told():
                connection.text_factory = bytes
                rows = connection.execute(self._sql, (since, PART)).fetchall()
            yield from rows
            if len(rows) < PART:
                return
            since = rows[-1][0]

    @property
    def _sql(self) -> str:
        found = "sum" if self._has_sums else "NULL"
        return f"SELECT seq, kind, body, {found} FROM journal WHERE seq > ? ORDER BY seq LIMIT ?"

    @cached_property
    def _damage(self) -> str:
        """What is wrong with the file; empty where it is whole."""
        try:
            with closing(self._open()) as connection:
                (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            if is_damage(error):
                return str(error)
            raise database_error(self.path, error) from None
        return "" if verdict == "ok" else str(verdict)

    def _require_whole(self) -> None:
        """Raise where the file is damaged: whoever adds to it would damage more."""
        if self._damage:
            raise damaged(self.path, self._damage)

    def _insert(self, connection: sqlite3.Connection, kind: str, text: str) -> None:
        if self._has_sums:
            insert(connection, kind, text)
        else:
            connection.execute("INSERT INTO journal (kind, body) VALUES (?, ?)", (kind, text))

    def _open(self, strict: bool = True) -> sqlite3.Connection:
        """A connection; one that is not strict reads what there is of a file that lacks its end, and writes nothing."""
        with self._told():
            connection = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode={self._mode}", uri=True, timeout=30)
            connection.execute("PRAGMA synchronous = FULL" if strict else "PRAGMA query_only = ON")
            if not strict:
                connection.execute("PRAGMA writable_schema = ON")
            return connection

    def _create(self) -> None:
        # Made beside its place and put there whole: killed in between, no half-made study is in the way. One that
        # another process has put there meanwhile stays.
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with TemporaryFolder(self.path.parent) as folder:
                temporary = folder / self.path.name
                with closing(sqlite3.connect(temporary, timeout=30)) as connection, connection:
                    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                    connection.execute(f"PRAGMA user_version = {FORMAT}")
                    connection.execute(
                        "CREATE TABLE journal "
                        "(seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, body TEXT NOT NULL, sum INTEGER)"
                    )
                try:
                    os.link(temporary, self.path)
                except FileExistsError:
                    pass
                except OSError:  # a file system without links
                    os.replace(temporary, self.path)
        except OSError as error:
            raise file_error(self.path, error) from None
        except sqlite3.Error as error:
            raise database_error(self.path, error) from None

    def _check(self) -> None:
        with closing(self._open(strict=False)) as connection, self._told():
            (application,) = connection.execute("PRAGMA application_id").fetchone()
            (version,) = connection.execute("PRAGMA user_version").fetchone()
        if application != APPLICATION_ID:
            raise StoreError(f"{self.path} is not a netwright study; it is left as it is: move it away")
        if not 1 <= version <= FORMAT:
            raise StoreError(
                f"the study {self.path} has format {version}, this netwright reads up to {FORMAT}: read it with the "
                "netwright that wrote it, or a later one; it is left as it is"
            )
        self._has_sums = version > 1

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turns SQLite's errors into ours."""
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise database_error(self.path, error) from None
