"""A write-ahead log while a study is held: whoever reads never waits for whoever adds, nor the other way round."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from ...core.errors import NetwrightError

WAIT_MS = 2000
"""How long others are waited for before the log is done without, or is left where it is."""

AWAY = ("nfs", "cifs", "smb", "9p", "afs", "ceph", "lustre", "gluster", "gpfs", "beegfs", "fuse.")
"""How the names of file systems begin on which several machines may have a file, without memory in common."""


@contextmanager
def logged(path: Path, connect: Callable[[], sqlite3.Connection]) -> Iterator[None]:
    """Have a study's file keep a write-ahead log while the block lasts, where it can have one.

    No connection stays open meanwhile: a process that is forked with one would hold locks that it does not have. So
    the log is there while anybody has the file open, and whoever is the last to close it writes the log into the file.
    At the end the file is one without a log again, which may be copied, and read where nothing may be written. Where
    the process is killed, its ``-wal`` file is part of the study until it is opened next.

    Args:
        path: of the file.
        connect: opens it.
    """
    if not is_away(path):
        _turn(connect, "WAL")  # a full disk, or a file that may not be written, is told when something is to be added
    try:
        yield
    finally:
        _turn(connect, "DELETE")  # while somebody reads, the log stays till the next time


def _turn(connect: Callable[[], sqlite3.Connection], mode: str) -> None:
    with suppress(sqlite3.Error, OSError, NetwrightError), closing(connect()) as connection:
        connection.execute(f"PRAGMA busy_timeout = {WAIT_MS}")
        connection.execute(f"PRAGMA journal_mode = {mode}").fetchone()


def how_to_read(path: Path, mode: str) -> str:
    """How a file is opened for reading: in the mode that is given, or as one that does not change, where it was left
    with an empty log and in a directory in which no log can be made.

    The file is not opened here but by SQLite: to close it would take the locks of other connections of this process.
    """
    plain = f"{path.absolute().as_uri()}?mode={mode}"
    if os.access(path.parent, os.W_OK) or path.with_name(path.name + "-wal").exists():
        return plain
    try:
        with closing(sqlite3.connect(plain, uri=True)) as connection:
            connection.execute("PRAGMA schema_version").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_CANTOPEN and path.exists():
            return plain + "&immutable=1"
    except sqlite3.Error:  # whoever reads it is told
        pass
    return plain


def is_away(path: Path, mounts: Path = Path("/proc/self/mounts")) -> bool:
    """Whether a file lies on a file system of another machine, where the memory that a log takes would not be shared.
    Without a list of file systems none is known to be."""
    try:
        lines = mounts.read_text(errors="replace").splitlines()
        place = path.resolve()
    except OSError:
        return False
    kinds = {
        Path(line.split(" ")[1].replace("\\040", " ")): line.split(" ")[2] for line in lines if line.count(" ") > 2
    }
    nearest = next((kinds[folder] for folder in (place, *place.parents) if folder in kinds), "")
    return nearest.startswith(AWAY)
