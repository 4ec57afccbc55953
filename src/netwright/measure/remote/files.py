"""Files that were sent to an agent, by the hash of their content."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import mkstemp
from threading import Lock

from ...core.errors import MeasureError

SPARE_BYTES = 32 * 10**6
"""Of the disk, that are never filled."""

PART = 1 << 18


class Refused(MeasureError):
    """What an agent does not do, with the HTTP status that says so."""

    def __init__(self, status: int, text: str, **more: object) -> None:
        super().__init__(text)
        self.status, self.more = status, more


class Files:
    """A directory of files that are named by the SHA-256 of their content.

    Those that were used longest ago go first when there is no room; those that a job uses stay.

    Args:
        folder: a folder of its own; what is left there of before is removed (a power cut may have left half a file).
        file_bytes: the most of one file.
        total_bytes: the most of all.
    """

    def __init__(self, folder: Path, file_bytes: int, total_bytes: int) -> None:
        self._here, self._coming = folder / "files", folder / "coming"
        self._file_bytes, self._total_bytes = file_bytes, total_bytes
        self._lock, self._promised = Lock(), 0
        for each in (self._here, self._coming):
            shutil.rmtree(each, ignore_errors=True)
            each.mkdir(parents=True)

    def has(self, name: str) -> bool:
        """Whether the file is here. Raises :class:`Refused` for what is no hash."""
        if not re.fullmatch("[0-9a-f]{64}", name):
            raise Refused(400, f"files are named by their SHA-256 (64 hexadecimal digits), not {name[:80]!r}")
        return (self._here / name).is_file()

    def check(self, size: int) -> None:
        """Raise :class:`Refused` where a file of this size cannot be taken; makes room for it where that helps."""
        with self._lock:
            self._make_room(size)

    def put(self, name: str, size: int, read: Callable[[int], bytes]) -> None:
        """Take a file.

        Args:
            name: its SHA-256.
            size: the size in bytes.
            read: gives the next bytes, at most as many as asked for; none at the end.

        Raises :class:`Refused` where it is another one, is too large or does not fit; ``ConnectionError`` where it
        ends too early. Nothing is left of it then.
        """
        self.has(name)
        with self._lock:
            self._make_room(size)
            self._promised += size
        scratch = ""
        try:
            handle, scratch = mkstemp(dir=self._coming)
            found, left = hashlib.sha256(), size
            with os.fdopen(handle, "wb") as file:
                while left:
                    part = read(min(left, PART))
                    if not part:
                        raise ConnectionAbortedError(f"{left} bytes of the file did not arrive")
                    found.update(part)
                    file.write(part)
                    left -= len(part)
            if found.hexdigest() != name:
                raise Refused(422, f"the file's SHA-256 is {found.hexdigest()}, announced was {name}")
            os.chmod(scratch, 0o444)
            os.replace(scratch, self._here / name)
        finally:
            with self._lock:
                self._promised -= size
            if scratch:
                Path(scratch).unlink(missing_ok=True)

    def link(self, name: str, path: Path) -> None:
        """Give a file a path of its own, under which it stays until that is removed."""
        os.utime(self._here / name)
        os.link(self._here / name, path)

    def _make_room(self, size: int) -> None:
        if size > self._file_bytes:
            raise Refused(413, f"a file of {size} bytes is too large, this agent takes {self._file_bytes} bytes")
        held = sorted((f.stat().st_mtime, f.stat().st_size, f) for f in self._here.iterdir() if f.stat().st_nlink == 1)
        total = sum(f.stat().st_size for f in self._here.iterdir()) + self._promised
        while True:
            free = shutil.disk_usage(self._here).free
            if total + size <= self._total_bytes and size + self._promised + SPARE_BYTES <= free:
                return
            if not held:
                break
            _, least, oldest = held.pop(0)
            oldest.unlink(missing_ok=True)
            total -= least
        if total + size > self._total_bytes:
            raise Refused(507, f"the agent keeps {self._total_bytes} bytes of files, {size} more do not fit")
        raise Refused(507, f"the agent's disk is full: {free} bytes are free, a file of {size} bytes does not fit")
