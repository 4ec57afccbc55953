"""Inputs and outputs of networks as files, between the process that searches and the one that measures."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..core.errors import MeasureError, format_error
from .runtimes.base import Feeds


def write_feeds(path: Path | BinaryIO, feeds: Feeds) -> str:
    """Write arrays as an ``.npz`` file, or into one that is open, by name; its path."""
    np.savez(path, **dict(feeds))  # type: ignore[arg-type]  # its stub takes the names for allow_pickle=
    return str(path)


def read_feeds(path: Path) -> Feeds:
    """Arrays of an ``.npz`` file, by name. Raises :class:`MeasureError` where it is none."""
    try:
        with np.load(path, allow_pickle=False) as held:
            return {name: held[name] for name in held.files}
    except (OSError, ValueError, AttributeError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise MeasureError(f"{path} is not an .npz file of arrays: {format_error(error)}") from None
