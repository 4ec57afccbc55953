"""The journal in one SQLite file."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from ..core.errors import StoreError
from .store import Entry, Store

APPLICATION_ID = 0x6E777267  # "nwrg"
FORMAT = 1


class SqliteStore(Store):
    """A journal in a table ``journal(seq INTEGER PRIMARY KEY, kind TEXT, body TEXT)``; bodies are JSON objects.

    Each entry is a transaction of its own, on disk before :meth:`append` returns. A file that cannot be read as a
    journal is refused and never written to.

    Args:
        path: of the file; it is made on first use, with its directory, unless ``must_exist``.
        must_exist: refuse a path where there is no file.
    """

    def __init__(self, path: str | Path, *, must_exist: bool = False) -> None:
        self.path = Path(path)
        if not self.path.exists():
            if must_exist:
                raise StoreError(f"there is no study at {self.path}; 'netwright fit' or 'netwright search' makes one")
            self._create()
        self._check()

    def append(self, kind: str, body: Mapping[str, Any]) -> None:
        text = json.dumps(body, separators=(",", ":"), allow_nan=False)
        with closing(self._open()) as connection, self._told(), connection:
            connection.execute("INSERT INTO journal (kind, body) VALUES (?, ?)", (kind, text))

    def read(self) -> Iterator[Entry]:
        with closing(self._open()) as connection, self._told():
            rows = connection.execute("SELECT kind, body FROM journal ORDER BY seq").fetchall()
        for kind, body in rows:
            try:
                yield kind, json.loads(body)
            except ValueError as error:
                raise self._damaged(str(error)) from None

    def _open(self) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=rw", uri=True, timeout=30)
            connection.execute("PRAGMA synchronous = FULL")
            return connection
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise self._damaged(str(error)) from None

    def _create(self) -> None:
        # Made beside its place and moved there whole: killed in between, no half-made study is in the way.
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            temporary.unlink(missing_ok=True)
            with closing(sqlite3.connect(temporary, timeout=30)) as connection, connection:
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {FORMAT}")
                connection.execute(
                    "CREATE TABLE journal (seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, body TEXT NOT NULL)"
                )
            os.replace(temporary, self.path)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"cannot write a study to {self.path}: {error}; choose another directory") from None

    def _check(self) -> None:
        with closing(self._open()) as connection, self._told():
            (application,) = connection.execute("PRAGMA application_id").fetchone()
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if application != APPLICATION_ID:
                raise StoreError(f"{self.path} is not a netwright study; it is left as it is: move it away")
            if version != FORMAT:
                raise StoreError(f"{self.path} has format {version}, this netwright reads format {FORMAT}")
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise self._damaged(verdict)

    def _told(self) -> _Told:
        return _Told(self)

    def _damaged(self, why: str) -> StoreError:
        return StoreError(
            f"{self.path} is damaged or no study ({why[:100]}); it is left as it is: move it away to start anew"
        )


class _Told:
    """Turns SQLite's errors into ours."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
            raise StoreError(f"{self._store.path} is locked by another program; try again when it is done") from None
        if isinstance(error, sqlite3.Error | UnicodeDecodeError):
            raise self._store._damaged(str(error)) from None
