"""Rows of a table in text that somebody else may have made: CSV, TSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from .files import open_regular

MOST_COLUMNS = 10_000
SNIFFED = 1 << 16
"""Bytes of the first line that are looked at to find what stands between cells."""


def read_rows(path: Path, between: str = ",") -> Iterator[tuple[int, list[str]]]:
    """The number of the line where a row ends, and the cells of the row, for each row that is not empty.

    Args:
        path: of a file in UTF-8; cells may stand in double quotes.
        between: what stands between cells; of several letters, the one that is most frequent in the first line.

    Raises OSError where the file cannot be read or is no regular file, and ValueError with the line for what is no
    table: cells that are not closed, lines with other numbers of cells than the first, characters that no text has.
    """
    with open_regular(path) as raw:
        if len(between) > 1:
            first = raw.readline(SNIFFED).decode("utf-8-sig", "replace")
            between = max(between, key=first.count)
            raw.seek(0)
        reader = csv.reader(io.TextIOWrapper(raw, "utf-8-sig", newline=""), delimiter=between, strict=True)
        columns = 0
        while True:
            try:
                cells = next(reader, None)
            except (csv.Error, UnicodeDecodeError) as error:
                raise ValueError(f"line {reader.line_num + isinstance(error, UnicodeDecodeError)}: {error}") from None
            if cells is None:
                return
            if not cells:
                continue
            _check(cells, columns, reader.line_num)
            columns = len(cells)
            yield reader.line_num, cells


def _check(cells: list[str], columns: int, line: int) -> None:
    if columns and len(cells) != columns:
        raise ValueError(f"line {line}: {len(cells)} cells, but the header has {columns}")
    if len(cells) > MOST_COLUMNS:
        raise ValueError(f"line {line}: {len(cells):,} cells; a table has at most {MOST_COLUMNS:,} columns")
    if any("\0" in cell for cell in cells):
        raise ValueError(f"line {line}: a cell holds a NUL character: is it a file of texts?")
