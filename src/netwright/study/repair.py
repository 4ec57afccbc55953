"""A damaged study, without what cannot be read of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import StoreError, format_error
from ..core.files import replacing
from .journal import UNREADABLE, Journal
from .stores.base import BadEntry, body_of
from .stores.faults import file_error
from .stores.sqlite import SqliteStore, write_entries


@dataclass(frozen=True)
class Repaired:
    """What became of a study.

    Args:
        kept: entries, all that can be read.
        records: how many of them are records.
        left_out: the entries that cannot be read, and why.
        original: where the file as it was is now; None where nothing had to be left out, and nothing was written.
        resumable: whether what the study is of can be read, so that a search can go on with it.
    """

    kept: int
    records: int
    left_out: Sequence[BadEntry]
    original: Path | None
    resumable: bool


def repair(store: SqliteStore) -> Repaired:
    """Have a study of all entries that can be read in the place of one that holds others; the file as it was stays,
    under another name.

    Raises :class:`StoreError` where nothing can be read, or another process has the study.
    """
    left_out: list[BadEntry] = []
    kept: list[tuple[str, str]] = []
    journal = Journal()
    with store.held():
        for number, kind, text in store.numbered(0, left_out.append):
            try:
                journal.take(kind, body_of(text))
            except UNREADABLE as error:
                left_out.append(BadEntry(number, f"{kind!r}: {format_error(error)}"))
            else:
                kept.append((kind, text))
        if left_out and not kept:
            raise StoreError(f"nothing of {store.path} can be read; it is left as it is: take a copy of it, if you can")
        original = _replace(store.path.resolve(), kept) if left_out else None
    records = sum(kind == "record" for kind, _ in kept)
    return Repaired(len(kept), records, left_out, original, journal.header is not None)


def _replace(path: Path, entries: Sequence[tuple[str, str]]) -> Path:
    """A study of these entries in the place of another, which is kept; returns where."""
    try:
        with replacing(path) as scratch:
            write_entries(SqliteStore(scratch), entries)
            return _keep(path)
    except OSError as error:
        raise file_error(path, error) from None


def _keep(path: Path) -> Path:
    """A file under a second name that nothing has yet."""
    number = 1
    while True:
        kept = path.with_name(f"{path.name}.damaged{f'-{number}' if number > 1 else ''}")
        try:
            os.link(path, kept)
            return kept
        except FileExistsError:
            number += 1
        except OSError:  # a file system without links
            if not kept.exists():
                with replacing(kept) as scratch:
                    shutil.copy2(path, scratch)
                return kept
            number += 1
