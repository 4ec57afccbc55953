"""Files: written whole or not at all, JSON, digests, and the folder that netwright keeps files in."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import stat
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import IO, Any

from .temporary import TemporaryFolder

MOST_BYTES = 64 << 20
"""The most bytes of a file that is read whole, unless its reader allows others."""


MOST_DEPTH = 100
"""Objects and lists within one another that a file may hold."""
TOO_DEEP = f"it is nested more than {MOST_DEPTH} deep"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write a file or a directory to, which takes the place of ``path`` at the end of the block.

    A reader sees the old content or the new, never a part of it. After an exception the old one stays, and nothing of
    the new. A directory takes the place of none or of an empty one; nothing takes that of a device or a pipe, which
    raise OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        if stat.S_IFMT(path.lstat().st_mode) not in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
    with TemporaryFolder(path.parent) as folder:
        try:
            yield folder / path.name
            os.replace(folder / path.name, path)
        except OSError as error:
            if error.errno is not None and error.filename is None:  # of a disk that is full, it says which
                error.filename = str(path)
            raise


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write a file so that a reader sees the old content or the new, never a part of it, whatever happens to the
    machine."""
    with replacing(path) as scratch, scratch.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def require_room(folder: Path) -> None:
    """Raise OSError where a folder takes no more. Asked after other libraries and programs have written to it: not all
    of them say that what they wrote was cut short, or why."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(1 << 20))
        file.flush()
        os.fsync(file.fileno())


def write_json(path: Path, value: Any) -> None:
    """Write JSON for people and programs, whole or not at all."""
    write_atomically(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def open_regular(path: Path) -> BufferedReader:
    """A file that somebody else may have made, to be read.

    Raises OSError where it cannot be, or is no regular file: a pipe would be waited for, a device has no end.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError:
        raise OSError(errno.EINVAL, "it is no path that a file can have", str(path)) from None
    return os.fdopen(_regular(descriptor, path), "rb")


def open_lock(path: Path) -> IO[str]:
    """A file to lock, which is made where it is not there.

    Nobody's link is followed, and nothing emptied: where it leads to may be anybody's. Raises OSError.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    return os.fdopen(_regular(os.open(path, flags, 0o666), path), "r+")


def _regular(descriptor: int, path: Path) -> int:
    """What was opened, if it is a regular file."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return descriptor


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """The content of a file that somebody else may have made.

    Raises OSError where it cannot be read, is no regular file, or has more than ``most`` bytes.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(min(size, most) + 1)  # memory is taken for as many, whether they are there or not
        if size < len(content) <= most:  # it has grown, or says no size, as in /proc
            content += file.read(most + 1 - len(content))
    if len(content) > most:
        raise OSError(errno.EINVAL, f"it has more than {most:,} bytes", str(path))
    return content


def read_json(path: Path, most: int = MOST_BYTES) -> Any:
    """The value in a JSON file that somebody else may have made, of at most so many bytes.

    Raises OSError where it cannot be read, and ValueError where it is not JSON: see :func:`parse_json`.
    """
    return parse_json(read_bytes(path, most))


def parse_json(text: bytes | str) -> Any:
    """The value of a JSON text that somebody else may have made.

    Raises ValueError where it is not JSON in UTF-8, holds a number that is none or is beyond all floats, has a key
    twice, or is nested more than 100 deep, which would end whoever goes through it.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8-sig")
    try:
        value = json.loads(text, parse_constant=_number, parse_float=_number, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    level = [value]
    for _ in range(MOST_DEPTH):
        inside = [each.values() if isinstance(each, dict) else each for each in level if isinstance(each, dict | list)]
        if not (level := [each for several in inside for each in several]):
            return value
    raise ValueError(TOO_DEEP)


def _number(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text[:40]} is no number of JSON, or beyond all floats")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise ValueError(f"the key {twice[:40]!r} stands there twice")
    return found


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits. Raises OSError where it cannot be read, or is no regular file."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_as_written(path: Path, digest: str, size: int) -> bool:
    """Whether a file is there with this SHA-256 and so many bytes, and is no link to another."""
    try:
        status = path.lstat()
        return stat.S_ISREG(status.st_mode) and status.st_size == size and sha256(path) == digest
    except OSError:
        return False


def cache_folder() -> Path:
    """Where netwright keeps files: ``NETWRIGHT_CACHE``, or ``netwright`` in the user's cache directory.

    Raises RuntimeError where the user has no home.
    """
    own = os.environ.get("NETWRIGHT_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "netwright"
