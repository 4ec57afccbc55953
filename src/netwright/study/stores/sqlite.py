"""The journal in one SQLite file."""

from __future__ import annotations

import json
import os
import sqlite3
import zlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

from ...core.errors import CallError, StoreError
from ...core.temporary import TemporaryFolder
from .base import Entry, Store, body_text
from .faults import damaged, database_error, file_error
from .lock import held

APPLICATION_ID = 0x6E777267  # "nwrg"
FORMAT = 2
"""The column with the checksums came with 2; studies of 1 are read, and gone on with, without."""

PART = 2000
"""Entries that are read at a time."""


def checksum(kind: Any, text: Any) -> int:
    """The CRC-32 of an entry: no flipped bit leaves it as it is."""
    return zlib.crc32(f"{kind} {text}".encode("utf-8", "surrogatepass"))


def insert(connection: sqlite3.Connection, kind: str, text: str) -> None:
    """Add an entry with its checksum."""
    row = (kind, text, checksum(kind, text))
    connection.execute("INSERT INTO journal (kind, body, sum) VALUES (?, ?, ?)", row)


class SqliteStore(Store):
    """A journal in a table ``journal(seq INTEGER PRIMARY KEY, kind TEXT, body TEXT, sum INTEGER)``; bodies are JSON
    objects, sums are :func:`checksum`.

    Each entry is a transaction of its own, on disk before :meth:`append` returns. A file that cannot be read as a
    journal is refused and never written to.

    Args:
        path: of the file; it is made on first use, with its directory, unless ``must_exist``.
        must_exist: refuse a path where there is no file.
    """

    def __init__(self, path: str | Path, *, must_exist: bool = False) -> None:
        if not isinstance(path, str | Path):
            raise CallError(f"a study is kept in a file, by its path, not in a {type(path).__name__}")
        self.path = Path(path)
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
        text = body_text(body)
        with closing(self._open()) as connection, self._told(), connection:
            self._insert(connection, kind, text)

    def begin(self, kind: str, body: Mapping[str, Any]) -> None:
        text = body_text(body)
        with closing(self._open()) as connection, self._told(), connection:
            connection.execute("BEGIN IMMEDIATE")
            if connection.execute("SELECT 1 FROM journal LIMIT 1").fetchone() is None:
                self._insert(connection, kind, text)

    def held(self) -> AbstractContextManager[None]:
        return held(self.path)

    def read(self, since: int = 0) -> Iterator[Entry]:
        # Nothing is ever deleted, so that the entries are numbered 1, 2, 3, ... They are read in parts: while one is
        # looked at, nothing is open that would be in a writer's way.
        while True:
            with closing(self._open()) as connection, self._told():
                if self._has_sums:  # text that is none differs from what was written, and is named by its entry
                    connection.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
                rows = connection.execute(
                    f"SELECT seq, kind, body, {'sum' if self._has_sums else 'NULL'} FROM journal WHERE seq > ? "
                    "ORDER BY seq LIMIT ?",
                    (since, PART),
                ).fetchall()
            for seq, kind, body, found in rows:
                if self._has_sums and found != checksum(kind, body):
                    raise damaged(
                        self.path, f"entry {seq} cannot be read: its checksum is not that of what was written"
                    )
                try:
                    entry = kind, json.loads(body)
                except ValueError as error:
                    raise damaged(self.path, str(error)) from None
                since = seq
                yield entry
            if len(rows) < PART:
                return

    def _insert(self, connection: sqlite3.Connection, kind: str, text: str) -> None:
        if self._has_sums:
            insert(connection, kind, text)
        else:
            connection.execute("INSERT INTO journal (kind, body) VALUES (?, ?)", (kind, text))

    def _open(self) -> sqlite3.Connection:
        with self._told():
            connection = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=rw", uri=True, timeout=30)
            connection.execute("PRAGMA synchronous = FULL")
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
        with closing(self._open()) as connection, self._told():
            (application,) = connection.execute("PRAGMA application_id").fetchone()
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if application != APPLICATION_ID:
                raise StoreError(f"{self.path} is not a netwright study; it is left as it is: move it away")
            if not 1 <= version <= FORMAT:
                raise StoreError(f"the study {self.path} has format {version}, this netwright reads up to {FORMAT}")
            self._has_sums = version > 1
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise damaged(self.path, verdict)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turns SQLite's errors into ours."""
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise database_error(self.path, error) from None
