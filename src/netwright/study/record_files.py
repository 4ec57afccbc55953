"""Records as files for other programs: JSON lines, CSV, Parquet."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.errors import CallError, MissingExtra
from ..core.files import replacing
from ..core.record import Record
from .stores.faults import file_error

MEASURED = ("value", "unit", "spread", "n", "kind")
"""What a table has of each measurement; JSON lines have all of it."""


def write_records(records: Iterable[Record], path: str | Path) -> None:
    """Write records to a file for other programs, of which the ending says what it is.

    ``.jsonl`` has one JSON object a line, as ``netwright records --json`` prints them, with all that is known. ``.csv``
    and ``.parquet`` (``netwright[tables]``) are tables of a row for each, whose columns are named as in JSON: ``id``,
    ``status``, ``reason``, ``candidate.depth``, ``measurements.latency.value``, ``measurements.latency.spread`` (half
    a 95 % interval), ..., and ``provenance``, a JSON text. What a network does not have is empty.

    Raises :class:`CallError` for another ending, and :class:`StoreError` where nothing can be written there.
    """
    path, bodies = Path(path), [record.to_json() for record in records]
    if path.suffix not in WRITERS:
        raise CallError(f"records are written to .jsonl, .csv or .parquet, by the file's ending, not to {path.name!r}")
    try:
        with replacing(path) as scratch:
            WRITERS[path.suffix](scratch, bodies)
    except OSError as error:
        raise file_error(path, error) from None


def _json_lines(path: Path, bodies: Sequence[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(body) + "\n" for body in bodies), encoding="utf-8")


def _csv(path: Path, bodies: Sequence[Mapping[str, Any]]) -> None:
    columns, rows = _table(bodies)
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def _parquet(path: Path, bodies: Sequence[Mapping[str, Any]]) -> None:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise MissingExtra("pyarrow", "tables", "writing Parquet files") from None
    columns, rows = _table(bodies)
    parquet.write_table(pyarrow.table({name: _alike([row.get(name) for row in rows]) for name in columns}), path)


WRITERS: dict[str, Callable[[Path, Sequence[Mapping[str, Any]]], None]] = {
    ".jsonl": _json_lines, ".csv": _csv, ".parquet": _parquet,
}  # fmt: skip


def _table(bodies: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[dict[str, Any]]]:
    """The names of the columns, and what each row has of them."""
    rows = [
        {
            "id": body["id"],
            "status": body["status"],
            "reason": body.get("reason"),
            **{f"candidate.{name}": _cell(option) for name, option in body["candidate"].items()},
            **{
                f"measurements.{name}.{part}": found[part]
                for name, found in body["measurements"].items()
                for part in MEASURED
            },
            "provenance": json.dumps(body.get("provenance", {})),
        }
        for body in bodies
    ]
    first = ("id", "status", "reason")
    names = dict.fromkeys(name for row in rows for name in row)
    parts = ([n for n in names if n.startswith(f"{part}.")] for part in ("candidate", "measurements"))
    return [*first, *(name for part in parts for name in part), "provenance"], rows


def _cell(option: Any) -> Any:
    """An option as a cell has it: one that is a list as JSON."""
    return json.dumps(option) if isinstance(option, list | tuple) else option


def _alike(values: list[Any]) -> list[Any]:
    """The values of a column, as texts where they are of several kinds."""
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) < 2 or kinds == {int, float}:
        return values
    return [None if value is None else str(value) for value in values]
