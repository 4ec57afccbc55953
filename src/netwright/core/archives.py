"""Zip archives that somebody else may have made: ``.pt2``, ``.npz``, and what netwright packs."""

from __future__ import annotations

import lzma
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from .errors import NetwrightError
from .files import open_regular

MEMBERS = 100_000
"""Files at most in an archive."""
GROWTH = 100
"""How many times as large as its file what an archive unpacks to may be, beyond ``SMALL``."""
SMALL = 256 << 20
"""Bytes that any archive may unpack to."""

DAMAGED = (
    ValueError, NotImplementedError, RuntimeError, EOFError, OverflowError, IndexError, TypeError,
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error,
)  # fmt: skip
"""What :mod:`zipfile` raises where an archive is damaged, beside OSError: encrypted members and unknown ways of
compression among it."""


@contextmanager
def opened_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """A zip archive that somebody else may have made, to be read; what it unpacks to is bounded.

    Raises OSError where it cannot be read or is no regular file, and ValueError, here and within the block, where it
    is no zip archive, is damaged, or holds more than it may.
    """
    with open_regular(path) as file, unpacking(file) as archive:
        yield archive


@contextmanager
def unpacking(file: BinaryIO) -> Iterator[zipfile.ZipFile]:
    """As :func:`opened_archive`, of a file that is open."""
    size = file.seek(0, os.SEEK_END)
    try:
        with zipfile.ZipFile(file) as archive:
            _check(archive.infolist(), size)
            yield archive
    except NetwrightError:
        raise
    except DAMAGED as error:
        raise ValueError(str(error) or type(error).__name__) from None


def _check(members: list[zipfile.ZipInfo], size: int) -> None:
    """Raise ValueError for too many members, for two of one name (which of them is read differs between programs), and
    for more content than such a file can honestly hold."""
    if len(members) > MEMBERS:
        raise ValueError(f"it holds {len(members):,} files, and {MEMBERS:,} at most are read")
    if len({member.filename for member in members}) < len(members):
        raise ValueError("two of the files in it have one name")
    whole, most = sum(member.file_size for member in members), max(SMALL, GROWTH * size)
    if whole > most:
        raise ValueError(f"it unpacks to {whole:,} bytes, of a file of its size {most:,} at most are read")
