"""A file that one process at a time holds, and that is let go however the process ends."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import IO

from ...core.errors import StoreError
from ...core.files import open_lock
from .faults import file_error

_holders: dict[Path, int] = {}
"""Locks that this process holds, with its number: a fork of it holds none."""
_guard = Lock()


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a study: a lock of this process on a file beside it.

    The process's forks do not have it, so that none of them that outlives it keeps the study locked, and SQLite's own
    locks are not in its way. Raises :class:`StoreError` where another holds it, or nothing can be written there.
    """
    place = path.resolve()
    place = place.with_name(f".{place.name}.lock")
    with _guard:
        if _holders.get(place) == os.getpid():  # not even opened again: closing the file would give up the lock
            raise StoreError(f"{path} is being searched with by this process already; wait until it is done")
        _holders[place] = os.getpid()
    try:
        with _locked(path, place):
            try:
                yield
            finally:
                place.unlink(missing_ok=True)  # a study is one file
    finally:
        del _holders[place]


def _locked(path: Path, place: Path) -> IO[str]:
    """The file at a place, locked."""
    while True:
        try:
            lock = open_lock(place)
        except OSError as error:
            raise file_error(place, error) from None
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(lock.fileno(), 200, 0).decode("utf-8", "replace").strip() or "just started"
            lock.close()
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise StoreError(
                    f"{path} is being searched with by another process ({holder}), and both would measure the "
                    "same networks; wait until it is done, or give this search a store of its own"
                ) from None
            raise StoreError(
                f"{path} lies where files cannot be locked ({error.strerror}); keep the study on another disk"
            ) from None
        try:
            if os.path.samestat(os.fstat(lock.fileno()), place.stat()):
                os.ftruncate(lock.fileno(), 0)
                os.pwrite(lock.fileno(), f"number {os.getpid()} on {socket.gethostname()}".encode(), 0)
                return lock
        except FileNotFoundError:  # whoever had it removed it just now
            pass
        except OSError as error:
            lock.close()
            raise file_error(place, error) from None
        lock.close()
