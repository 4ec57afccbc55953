"""Tables of numbers and texts: CSV, TSV, JSON lines and Parquet."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...core.errors import MissingExtra, NetwrightError, RecipeError, did_you_mean, format_error
from ...core.files import open_regular
from ...core.rows import read_rows
from ...core.shape import told
from ..base import Task
from ..data import Data, Split
from ..regression import Regression
from .labels import Columns, classes, is_number, number, numbers
from .parts import check_parts, check_shares, part_of

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")

MOST = 100
"""Different texts of a column, each of which becomes an input."""
MOST_CELLS = 200_000_000
"""Of a Parquet file, a few kilobytes of which may stand for any number."""
MOST_LINE = 10_000_000
"""Bytes of a line of JSON."""


def table(
    path: Path,
    task: Task,
    target: tuple[str, ...] = (),
    features: tuple[str, ...] = (),
    validation: str = "",
    test: str = "",
    validation_share: float = 0.2,
    test_share: float = 0.2,
    seed: int = 0,
) -> Data:
    """The data of a table whose first line names the columns.

    Inputs are one tensor (n, inputs): columns of numbers, scaled to mean 0 and deviation 1 by the training rows and 0
    where they are empty, and one input for each text of a column of texts. Targets are numbers for regression, else
    class indices: whole numbers as they are, texts in their order.

    Args:
        path: the file; of the training rows alone where ``validation`` and ``test`` are given.
        task: what the data are for.
        target: the columns of the targets; by default the last.
        features: the columns of the inputs; by default all others.
        validation: a file of the validation rows, beside the first; by default a share of the first.
        test: likewise.
        validation_share: of the rows, about, drawn by a digest of each row.
        test_share: likewise.
        seed: of that draw.
    """
    rows = read_columns(path)
    names = list(rows)
    targets = list(target) or names[-1:]
    inputs = list(features) or [name for name in names if name not in targets]
    for name in (*targets, *inputs):
        if name not in rows:
            raise RecipeError(f"data: {path.name} has no column {name!r}; {did_you_mean(name, names)}")
    require_cells(rows, (*targets, *inputs), path)
    parts = read_parts(path, rows, validation, test, validation_share, test_share, seed)
    require_columns(parts, (*targets, *inputs), path, validation, test)
    encoders = [_encoder(name, parts["train"][name], path) for name in inputs]
    regresses = isinstance(task, Regression)
    wanted = [numbers(name, parts) if regresses else classes(name, parts, path)[0] for name in targets]
    made: dict[str, Any] = {
        part: Split(_inputs(encoders, columns), _targets(wanted, part)) for part, columns in parts.items()
    }
    return Data(**made)


def read_parts(
    path: Path, rows: Columns, validation: str, test: str, validation_share: float, test_share: float, seed: int
) -> dict[str, Columns]:
    """The columns of each part: of the files that are named, which lie beside the first, else of shares of its rows.

    Args:
        path: the first file.
        rows: its columns.
        validation, test, validation_share, test_share, seed: see :func:`table`.
    """
    given = {"validation": validation, "test": test}
    parts = {"train": rows, **{part: read_columns(path.parent / file) for part, file in given.items() if file}}
    missing = [part for part in given if part not in parts]
    if missing:
        shares = {"validation": validation_share, "test": test_share}
        check_shares(**{f"{part}_share": share for part, share in shares.items()})
        drawn = {f"{part}_share": share if part in missing else 0.0 for part, share in shares.items()}
        which = [part_of(repr(row), seed, **drawn) for row in zip(*rows.values(), strict=True)]
        for part in ("train", *missing):
            parts[part] = {name: _chosen(column, which, part) for name, column in rows.items()}
    check_parts({part: len(next(iter(columns.values()))) for part, columns in parts.items()}, path.name)
    return parts


def require_columns(parts: dict[str, Columns], wanted: Sequence[str], path: Path, validation: str, test: str) -> None:
    """Raise :class:`RecipeError` where the file of a part lacks a column of the first."""
    given = {"validation": validation, "test": test}
    for part, columns in parts.items():
        if lacking := [name for name in wanted if name not in columns]:
            raise RecipeError(f"data: {given[part]} has no column {lacking[0]!r}, which {path.name} has")


def require_cells(rows: Columns, names: Sequence[str], path: Path) -> None:
    """Raise :class:`RecipeError` where a column holds lists, which are words or tags."""
    for name in names:
        if found := next((value for value in rows[name] if isinstance(value, list)), None):
            raise _no_cell(found, name, path)


def _no_cell(value: Any, name: str, path: Path) -> RecipeError:
    return RecipeError(f"data: the column {told(name)} of {path.name} holds {told(value)}, not numbers or texts")


def _chosen(column: Sequence[Any], which: Sequence[str], part: str) -> list[Any]:
    return [value for value, its in zip(column, which, strict=True) if its == part]


def read_columns(path: Path) -> Columns:
    """A table's columns by name. Raises :class:`RecipeError` for what is none."""
    if not path.exists():
        raise RecipeError(f"data: there is no file {path}")
    try:
        return {".parquet": _parquet, ".jsonl": _json_lines}.get(path.suffix, _text)(path)
    except NetwrightError:
        raise
    except OSError as error:
        raise RecipeError(f"data: {path.name} cannot be read: {format_error(error)}") from error
    except ValueError as error:
        raise RecipeError(f"data: {path.name}, {error}") from error


def _parquet(path: Path) -> Columns:
    try:
        from pyarrow import parquet
    except ImportError:
        raise MissingExtra("pyarrow", "tables", f"reading {path.name}") from None
    with open_regular(path) as raw:
        try:
            file = parquet.ParquetFile(raw)
            names, cells = file.schema_arrow.names, file.metadata.num_rows * max(file.metadata.num_columns, 1)
            columns = file.read().to_pydict() if cells <= MOST_CELLS else {}
        except Exception as error:  # of Arrow's own types, and of those that its parts raise
            raise RecipeError(f"data: {path.name} cannot be read: {format_error(error)[:300]}") from error
    if cells > MOST_CELLS:
        raise RecipeError(f"data: {path.name} has {cells:,} cells, of which {MOST_CELLS:,} can be read")
    if not cells or len(set(names)) < len(names):
        raise RecipeError(f"data: {path.name} holds no rows, or two columns of one name")
    return {name: [_plain(value, name, path) for value in column] for name, column in columns.items()}


def _json_lines(path: Path) -> Columns:
    """An object of the same keys on every line; a value may be a list of texts or whole numbers."""
    rows: list[dict[str, Any]] = []
    with open_regular(path) as file:
        number_of = 0
        while line := file.readline(MOST_LINE + 1):
            number_of += 1
            if len(line) > MOST_LINE:
                raise ValueError(f"line {number_of}: it has more than {MOST_LINE:,} bytes")
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"line {number_of}: {format_error(error)}") from None
            if not isinstance(row, dict) or (rows and row.keys() != rows[0].keys()):
                keys = f" the keys {', '.join(rows[0])}" if rows else " a name for each value"
                raise ValueError(f"line {number_of}: each line is a JSON object with{keys}")
            rows.append({name: _plain(value, name, path) for name, value in row.items()})
    if not rows or not rows[0]:
        raise RecipeError(f"data: {path.name} holds no rows")
    return {name: [row[name] for row in rows] for name in rows[0]}


def _plain(value: Any, name: str, path: Path) -> Any:
    """A cell as a number, a truth value, a text, or a list of texts or whole numbers: a sequence of words or tags."""
    if value is None:
        return ""
    if isinstance(value, list) and value and all(isinstance(each, str | int) for each in value):
        return value
    if isinstance(value, list | tuple | dict | bytes):
        raise _no_cell(value, name, path)
    return value if isinstance(value, bool | int | float | str) else str(value)


def _text(path: Path) -> Columns:
    rows = list(read_rows(path, "\t" if path.suffix == ".tsv" else ",;\t"))
    if len(rows) < 2:
        raise RecipeError(f"data: {path.name} holds no rows below a line of names")
    names = [name.strip() for name in rows[0][1]]
    if all(is_number(name) for name in names) or len(set(names)) < len(names):
        raise RecipeError(
            f"data: the first line of {path.name} must give each column a name of its own, but it is "
            f"{', '.join(names)[:80]}"
        )
    columns = zip(*((cell.strip() for cell in cells) for _, cells in rows[1:]), strict=True)
    return dict(zip(names, columns, strict=True))


class _Encoder:
    """Makes inputs of a column.

    Args:
        name: the column.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.texts: dict[str, int] = {}
        self.mean, self.deviation = 0.0, 1.0

    def __call__(self, values: Sequence[Any]) -> Tensor:
        """Of shape (n, inputs)."""
        if self.texts:
            found = torch.zeros(len(values), len(self.texts))
            for i, value in enumerate(values):
                if str(value) in self.texts:  # one that no training row has is none of them
                    found[i, self.texts[str(value)]] = 1
            return found
        numbers = [self.mean if value == "" else number(value, self.name) for value in values]
        scaled = (torch.tensor(numbers, dtype=torch.float64) - self.mean) / self.deviation
        return scaled.float()[:, None]


def _encoder(name: str, values: Sequence[Any], path: Path) -> _Encoder:
    made, there = _Encoder(name), [value for value in values if value != ""]
    if there and all(not isinstance(value, bool) and is_number(value) for value in there):
        numbers = torch.tensor([number(value, name) for value in there], dtype=torch.float64)
        made.mean = float(numbers.mean())
        made.deviation = float(numbers.std(correction=0)) or 1.0
        return made
    texts = sorted({str(value) for value in there})
    if not texts or len(texts) > MOST:
        raise RecipeError(
            f"data: the column {name!r} of {path.name} has {len(texts)} different texts; name the columns to use with "
            "features=(...)"
        )
    made.texts = {text: i for i, text in enumerate(texts)}
    return made


def _inputs(encoders: Sequence[_Encoder], columns: Columns) -> Tensor:
    return torch.cat([encode(columns[encode.name]) for encode in encoders], 1)


def _targets(wanted: Sequence[dict[str, Tensor]], part: str) -> Tensor:
    columns = [each[part] for each in wanted]
    return columns[0] if len(columns) == 1 else torch.stack(columns, 1)
