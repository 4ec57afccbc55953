"""Inputs and outputs of networks as files, between the process that searches and the one that measures."""

from __future__ import annotations

import zipfile
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy

from ..core.archives import opened_archive
from ..core.errors import MeasureError, format_error
from .runtimes.base import Feeds

NUMBERS = "biufc"
"""Kinds of types that inputs and outputs have, in NumPy's letters: truth values and numbers."""


def write_feeds(path: Path | BinaryIO, feeds: Feeds) -> str:
    """Write arrays as an ``.npz`` file, or into one that is open, by name; its path."""
    np.savez(path, **dict(feeds))  # type: ignore[arg-type]  # its stub takes the names for allow_pickle=
    return str(path)


def read_feeds(path: Path) -> Feeds:
    """Arrays of numbers in an ``.npz`` file that anybody may have made, by name.

    Raises :class:`MeasureError` where it is none, or an array of it is damaged, holds no numbers or other data than
    its header says.
    """
    feeds: dict[str, np.ndarray] = {}
    try:
        with opened_archive(path) as archive:
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                if name == member.filename:
                    raise ValueError(f"{name!r} in it is no array (.npy)")
                feeds[name] = _array(archive, member, name)
    except (OSError, ValueError, MemoryError) as error:
        raise MeasureError(f"{path} is not an .npz file of arrays: {format_error(error)}") from error
    return feeds


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> np.ndarray:
    """One array. Raises ValueError where its header and its size differ: memory is asked for by the header."""
    try:
        with archive.open(member) as file:
            version = npy.read_magic(file)
            header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, _, kind = header(file)
            size = member.file_size - file.tell()
        if kind.kind not in NUMBERS:
            raise ValueError(f"it holds {kind}, not numbers")
        if min(shape, default=0) < 0 or prod(shape) * kind.itemsize != size:
            raise ValueError(f"its shape {shape} of {kind} does not fit its {size:,} bytes")
        with archive.open(member) as file:
            return npy.read_array(file, allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # NumPy takes the header for a Python literal, which fails in many ways
        raise ValueError(f"array {name!r}: {error}") from None
