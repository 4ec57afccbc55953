"""Records of netwright's own: of a study, or written to a file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import MissingExtra, NetwrightError, StoreError, format_error
from ...core.files import open_regular, parse_json
from ...core.metric import Metric
from ...core.record import Record
from ...core.rows import read_rows
from ..journal import read_journal
from ..stores.sqlite import SqliteStore
from .base import Network, WarmStart

MOST_LINE = 1 << 24
CHOICE, MEASURED, VALUE = "candidate.", "measurements.", ".value"


@dataclass(frozen=True)
class Records(WarmStart):
    """Another study: its ``study.db`` or output directory, or what ``netwright records --out`` wrote.

    Args:
        path: of a ``study.db``, a directory that holds one, or a ``.jsonl``, ``.csv`` or ``.parquet`` file.
    """

    path: str

    def read(self, objectives: Sequence[Metric]) -> Iterator[Network]:
        path = Path(self.path)
        path = path / "study.db" if path.is_dir() else path
        if not path.exists():
            raise StoreError(f"warm start: there is no {path}")
        readers = {".jsonl": _json_lines, ".csv": _csv, ".parquet": _parquet}
        try:
            yield from readers.get(path.suffix, _study)(path)
        except NetwrightError:
            raise
        except (OSError, ValueError) as error:
            raise StoreError(f"warm start: {path.name} cannot be read: {format_error(error)[:300]}") from None


def _study(path: Path) -> Iterator[Network]:
    return map(_network, read_journal(SqliteStore(path, must_exist=True, read_only=True)).records)


def _network(record: Record) -> Network:
    return Network(dict(record.candidate), record.values if record.status != "failed" else {})


def _json_lines(path: Path) -> Iterator[Network]:
    with open_regular(path) as file:
        number = 0
        while line := file.readline(MOST_LINE):
            number += 1
            if not line.strip():
                continue
            try:
                yield _network(Record.from_json(parse_json(line)))
            except (ValueError, NetwrightError) as error:
                raise ValueError(f"line {number}: {format_error(error)}") from None


def _csv(path: Path) -> Iterator[Network]:
    rows = read_rows(path)
    _, names = next(rows, (0, []))
    for number, cells in rows:
        yield _row(dict(zip(names, cells, strict=True)), f"line {number}")


def _parquet(path: Path) -> Iterator[Network]:
    try:
        from pyarrow import parquet
    except ImportError:
        raise MissingExtra("pyarrow", "tables", f"reading {path.name}") from None
    with open_regular(path) as file:
        try:
            rows = parquet.read_table(file).to_pylist()
        except Exception as error:  # of Arrow's own types, and of those that its parts raise
            raise ValueError(format_error(error)) from error
    for number, row in enumerate(rows, 1):
        yield _row(row, f"row {number}")


def _row(row: Mapping[str, Any], where: str) -> Network:
    """The network of a row of what :func:`netwright.study.record_files.write_records` writes."""
    there = {name: value for name, value in row.items() if value not in (None, "")}
    choices = {name.removeprefix(CHOICE): value for name, value in there.items() if name.startswith(CHOICE)}
    if not choices:
        raise ValueError(f"{where}: a table of records has columns of choices, such as candidate.depth")
    measured = [n for n in there if n.startswith(MEASURED) and n.endswith(VALUE) and row.get("status") != "failed"]
    return Network(choices, {n[len(MEASURED) : -len(VALUE)]: number_of(there[n], f"{where}, {n}") for n in measured})


def number_of(value: Any, where: str) -> float:
    """A cell as a number. Raises ValueError for what is none."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{where}: {str(value)[:50]!r} is no number")
    return number
