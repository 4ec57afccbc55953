"""The journal in one SQLite file."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Lock
from typing import IO, Any

from ...core.errors import CallError, StoreError
from .base import Entry, Store, body_text

APPLICATION_ID = 0x6E777267  # "nwrg"
FORMAT = 1

_holders: dict[Path, int] = {}
"""Locks that this process holds, with its number: a fork of it holds none."""
_guard = Lock()


class SqliteStore(Store):
    """A journal in a table ``journal(seq INTEGER PRIMARY KEY, kind TEXT, body TEXT)``; bodies are JSON objects.

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
        if not self.path.exists():
            if must_exist:
                raise StoreError(f"there is no study at {self.path}; 'netwright fit' or 'netwright search' makes one")
            self._create()
        self._check()

    def append(self, kind: str, body: Mapping[str, Any]) -> None:
        text = body_text(body)
        with closing(self._open()) as connection, self._told(), connection:
            connection.execute("INSERT INTO journal (kind, body) VALUES (?, ?)", (kind, text))

    def begin(self, kind: str, body: Mapping[str, Any]) -> None:
        text = body_text(body)
        with closing(self._open()) as connection, self._told(), connection:
            connection.execute(
                "INSERT INTO journal (kind, body) SELECT ?, ? WHERE NOT EXISTS (SELECT 1 FROM journal)", (kind, text)
            )

    @contextmanager
    def held(self) -> Iterator[None]:
        # A lock of this process on a file beside the study: its forks do not have it, so that none of them that
        # outlives it keeps the study locked, and SQLite's own locks are not in its way.
        place = self.path.resolve()
        place = place.with_name(f".{place.name}.lock")
        with _guard:
            if _holders.get(place) == os.getpid():  # not even opened again: closing the file would give up the lock
                raise StoreError(f"{self.path} is being searched with by this process already; wait until it is done")
            _holders[place] = os.getpid()
        try:
            with self._locked(place):
                try:
                    yield
                finally:
                    place.unlink(missing_ok=True)  # a study is one file
        finally:
            del _holders[place]

    def _locked(self, place: Path) -> IO[str]:
        """A file at a place, locked."""
        while True:
            try:
                lock = place.open("a+")
            except OSError as error:
                raise StoreError(f"cannot write to {place}: {error.strerror}; choose another directory") from None
            try:
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(lock.fileno()), place.stat()):
                    lock.truncate(0)
                    lock.write(f"number {os.getpid()} on {socket.gethostname()}")
                    lock.flush()
                    return lock
            except FileNotFoundError:  # whoever had it removed it just now
                pass
            except OSError as error:
                lock.seek(0)
                holder = lock.read(200).strip() or "just started"
                lock.close()
                if error.errno in (errno.EACCES, errno.EAGAIN):
                    raise StoreError(
                        f"{self.path} is being searched with by another process ({holder}), and both would measure the "
                        "same networks; wait until it is done, or give this search a store of its own"
                    ) from None
                raise StoreError(
                    f"{self.path} lies where files cannot be locked ({error.strerror}); keep the study on another disk"
                ) from None
            lock.close()

    def read(self, since: int = 0) -> Iterator[Entry]:
        # Nothing is ever deleted, so that the entries are numbered 1, 2, 3, ...
        with closing(self._open()) as connection, self._told():
            rows = connection.execute("SELECT kind, body FROM journal WHERE seq > ? ORDER BY seq", (since,)).fetchall()
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
        # Made beside its place and put there whole: killed in between, no half-made study is in the way. One that
        # another process has put there meanwhile stays.
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
            try:
                os.link(temporary, self.path)
                temporary.unlink()
            except FileExistsError:
                temporary.unlink()
            except OSError:  # a file system without links
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
