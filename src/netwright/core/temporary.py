"""Temporary folders, which are removed even when the process that made them was killed: the next one that makes some
at the same place does it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
import stat
import tempfile
import weakref
from functools import cache
from pathlib import Path
from types import TracebackType

_NAME = re.compile(r"\.?netwright-(\d+)-(\d+)-[0-9a-f]+")
"""The number of the process that a folder belongs to, and when that was started: numbers are used again."""


class TemporaryFolder:
    """A folder that only this user may look into. It is removed at the end of the block, with this object, or with
    this process, whichever ends first; what a killed process left is removed by :func:`sweep`.

    Args:
        where: the directory to make it in, where it is hidden; the system's directory for temporary files by default.
    """

    def __init__(self, where: Path | None = None) -> None:
        place = Path(tempfile.gettempdir()) if where is None else where
        _sweep_once(place.absolute())
        hidden = "" if where is None else "."
        name = f"{hidden}netwright-{os.getpid()}-{_started(os.getpid())}-{secrets.token_hex(4)}"
        self.path = place / name
        try:
            self.path.mkdir(mode=0o700)
        except OSError as error:
            error.filename = str(place)  # which is what can be mended
            raise
        try:
            lock = _lock(self.path, fcntl.LOCK_SH)
        except OSError:  # too many open files
            self.path.rmdir()
            raise
        self._end = weakref.finalize(self, _remove, self.path, lock, os.getpid())

    def __enter__(self) -> Path:
        return self.path

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove it, with all that it holds."""
        self._end()


def sweep(place: Path) -> None:
    """Remove the temporary folders in a directory whose processes are gone, of this user alone."""
    with contextlib.suppress(OSError), os.scandir(place) as found:
        for entry in found:
            owner = _NAME.fullmatch(entry.name)
            if owner and not _lives(int(owner[1]), int(owner[2])):
                _remove_left(Path(entry.path))


@cache
def _sweep_once(place: Path) -> None:
    """Sweep a directory, once in each process."""
    sweep(place)


def _remove_left(folder: Path) -> None:
    """Remove a folder that no process of this machine's list of them has made, unless one holds it all the same: one in
    another container, whose processes have numbers of their own."""
    with contextlib.suppress(OSError):
        about = folder.lstat()
        if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid():
            return
        held = _lock(folder, fcntl.LOCK_EX)
        if held is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(held)


def _lock(folder: Path, kind: int) -> int | None:
    """A lock on a folder, which ends with the process and its forks; None where it cannot be had."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _remove(folder: Path, lock: int | None, owner: int) -> None:
    """Remove the folder, unless this is a fork of the process that it belongs to."""
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)
    if lock is not None:
        os.close(lock)


def _lives(process: int, started: int) -> bool:
    """Whether a process runs that was started then."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return _started(process) in (started, 0)


def _started(process: int) -> int:
    """When a process was started, in ticks since the machine was; 0 where that is not known."""
    try:
        return int(Path(f"/proc/{process}/stat").read_bytes().rpartition(b") ")[2].split()[19])
    except (OSError, LookupError, ValueError):
        return 0
