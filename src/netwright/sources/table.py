"""A table of measured networks, searched like a super-network."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from math import isfinite
from pathlib import Path
from typing import Any, NoReturn

from ..core.candidate import Candidate, Option, digest
from ..core.enumerated import EnumeratedSpace
from ..core.errors import NetwrightError, did_you_mean, format_error
from ..core.front import objectives_of
from ..core.metric import Direction, Measurement, Metric
from ..core.rows import read_rows
from ..core.shape import told
from ..core.space import Choice
from ..measure.base import EvaluationContext, Measurer
from .base import Source


class TabularBenchmark:
    """Networks that somebody measured: the rows are the candidates, and measuring one looks its figures up.

    Args:
        space: of the rows.
        metrics: of the figures.
        rows: candidate to its figures by metric name; a figure that is not known is absent.
    """

    def __init__(
        self, space: EnumeratedSpace, metrics: Sequence[Metric], rows: Mapping[Candidate, Mapping[str, float]]
    ) -> None:
        self.space, self.metrics, self._rows = space, tuple(metrics), rows
        kinds = ([m for m in self.metrics if m.exact is exact] for exact in (True, False))
        self.measurers: tuple[Measurer, ...] = tuple(_Lookup(self, kind) for kind in kinds if kind)

    @classmethod
    def read(
        cls,
        path: str | Path,
        *,
        choices: Sequence[str] = (),
        digits: Sequence[str] = (),
        metrics: Mapping[str, Direction] | Sequence[Metric],
        absent: str = "",
    ) -> TabularBenchmark:
        """A table from a CSV file with a header line; columns that are not named are left alone.

        A choice may exist in some rows only. It must then follow from a choice named before it whether it exists, as
        the layers of a network follow from its depth.

        Args:
            path: of the file, UTF-8 with commas.
            choices: columns that are a choice each; names, or patterns such as ``"width*"``. Numbers are ordered.
            digits: columns that hold one digit per choice: column ``k`` with cells such as ``357`` gives the choices
                ``k.0``, ``k.1`` and ``k.2``.
            metrics: columns with figures: name to ``"max"`` or ``"min"``; or metrics, which may also have a unit, and
                be exact (free to look at, and never predicted). An empty cell is a figure that is not known.
            absent: what stands where a choice does not exist: a whole cell, or one digit.

        Raises :class:`NetwrightError` with line and column for what cannot be used.
        """
        sheet, wanted = _Sheet(path), _metrics(metrics)
        named, split, columns = sheet.columns(choices), sheet.columns(digits), [sheet.known(m.name) for m in wanted]
        twice = [name for name in sheet.header if [*named, *split, *columns].count(name) > 1]
        if twice:
            raise NetwrightError(f"the column {twice[0]!r} is named twice; it is a choice, digits, or a metric")
        found = sheet.read_choices(named, split, absent)
        figures = sheet.read_metrics(wanted)
        try:
            space = EnumeratedSpace(found, sheet.options)
        except NetwrightError as error:
            raise NetwrightError(f"{path}: {format_error(error)}") from None
        return cls(space, wanted, dict(zip(space.enumerate(), figures, strict=True)))

    def lookup(self, candidate: Candidate | Mapping[str, Option]) -> Mapping[str, float]:
        """The figures of a candidate: what :func:`netwright.search` asks a function for."""
        found = self._rows.get(candidate) if isinstance(candidate, Candidate) else None
        return self._rows[self.space.candidate(candidate)] if found is None else found

    def extract(self, candidate: Candidate) -> NoReturn:
        """A table holds no networks: raises."""
        raise NetwrightError("a table holds figures and no networks: nothing can be extracted")

    @property
    def fingerprint(self) -> str:
        """Equal for tables with the same figures."""
        metrics = [[m.name, m.unit, m.direction, m.exact] for m in self.metrics]
        return digest([metrics, sorted([c.key, dict(values)] for c, values in self._rows.items())])


class TableSource(Source):
    """A table as the stages of a job take it.

    Args:
        table: what is searched.
        reference: the recipe's ``module:function``, for messages.
    """

    def __init__(self, table: TabularBenchmark, reference: str) -> None:
        super().__init__(reference)
        self._table = table
        self.measurers = table.measurers
        self.fingerprint = table.fingerprint
        self.untrained = f"{reference} gives a table"
        self.no_networks = f"{reference} gives a table of figures, which holds no networks"

    @property
    def net(self) -> TabularBenchmark:
        """The table."""
        return self._table


class _Lookup(Measurer):
    """Figures of a table."""

    depends_on_weights = True

    def __init__(self, table: TabularBenchmark, metrics: Sequence[Metric]) -> None:
        self.metrics, self._table = tuple(metrics), table

    def measure(self, context: EvaluationContext) -> Mapping[str, Measurement]:
        found = self._table.lookup(context.candidate)
        return {
            m.name: Measurement(found[m.name], m.unit, kind="exact" if m.exact else "measured")
            for m in self.metrics
            if m.name in found
        }


class _Sheet:
    """A CSV file while it is read.

    ``options`` holds what is known of each row's choices, filled by :meth:`read_choices`.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = path
        self.header: list[str] = []
        self._rows: list[tuple[int, dict[str, str]]] = list(self._lines())
        self.options: list[dict[str, Option]] = [{} for _ in self._rows]
        if not self._rows:
            raise NetwrightError(f"{path} holds no rows below its header")

    def columns(self, patterns: Sequence[str]) -> list[str]:
        """The columns that names or patterns stand for."""
        if isinstance(patterns, str):
            raise NetwrightError(f"columns are a list, such as [{patterns!r}], not {patterns!r}")
        found: dict[str, None] = {}
        for pattern in patterns:
            matching = [column for column in self.header if fnmatchcase(column, pattern)]
            found.update(dict.fromkeys(matching or [self.known(pattern)]))
        return list(found)

    def known(self, column: str) -> str:
        """The name of a column, if there is one of this name."""
        if column not in self.header:
            raise NetwrightError(f"{self.path} has no column {column!r}; {did_you_mean(column, self.header)}")
        return column

    def read_choices(self, columns: Sequence[str], digits: Sequence[str], absent: str) -> list[Choice]:
        """The choices, in order; the rows' options go to ``options``."""
        if not columns and not digits:
            raise NetwrightError("a table needs choices=[...] or digits=[...]: the columns that describe a network")
        texts = [(column, column, [row[column] for _, row in self._rows]) for column in columns]
        texts += [(f"{column}.{i}", column, cells) for column in digits for i, cells in enumerate(self._split(column))]
        choices: list[Choice] = []
        for name, column, cells in texts:
            given = {cell for cell in cells if cell != absent}
            if not given:
                raise NetwrightError(f"{self.path}, column {column!r}: the choice {name!r} exists in no row")
            options = _options(given)
            for row, cell in zip(self.options, cells, strict=True):
                if cell != absent:
                    row[name] = options[cell]
            choices.append(Choice(name, tuple(sorted(set(options.values()))), self._when(name, column, choices)))
        self._check_distinct()
        return choices

    def read_metrics(self, metrics: Iterable[Metric]) -> list[dict[str, float]]:
        """Each row's figures."""
        figures: list[dict[str, float]] = [{} for _ in self._rows]
        for metric in metrics:
            column = metric.name
            for values, (line, row) in zip(figures, self._rows, strict=True):
                text = row[column]
                if text:
                    value = _number(text)
                    if value is None:
                        self._wrong(
                            line, column, f"{told(text)} is not a number; leave the cell empty where none is known"
                        )
                    values[column] = value
                elif metric.exact:
                    self._wrong(line, column, "the cell is empty, but an exact metric has a value for every network")
        return figures

    def _split(self, column: str) -> Iterator[list[str]]:
        """The digits of a column, position by position."""
        count = len(self._rows[0][1][column])
        for line, row in self._rows:
            text = row[column]
            if not text.isdecimal() or len(text) != count:
                self._wrong(line, column, f"{told(text)} is not {count or 'some'} digits, one for each choice")
        for i in range(count):
            yield [row[column][i] for _, row in self._rows]

    def _when(self, name: str, column: str, before: Sequence[Choice]) -> dict[str, tuple[Option, ...]] | None:
        """The condition under which a choice exists, read off the rows."""
        if all(name in row for row in self.options):
            return None
        for parent in before:
            runs = {row[parent.name] for row in self.options if name in row and parent.name in row}
            rests = {row[parent.name] for row in self.options if name not in row and parent.name in row}
            orphan = any(name in row and parent.name not in row for row in self.options)
            if not orphan and not runs & rests:
                return {parent.name: tuple(option for option in parent.options if option in runs)}
        line = next(line for (line, _), row in zip(self._rows, self.options, strict=True) if name not in row)
        self._wrong(
            line,
            column,
            f"the choice {name!r} does not exist here, but no choice before it says when; fill the cell, or name the "
            "column that it follows from first",
        )

    def _check_distinct(self) -> None:
        lines: dict[str, int] = {}
        for (line, _), row in zip(self._rows, self.options, strict=True):
            first = lines.setdefault(Candidate(row).key, line)
            if first != line:
                raise NetwrightError(
                    f"{self.path}, line {line}: the same network as in line {first}; keep one row of each network"
                )

    def _lines(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Line number and cells by column, of every row."""
        try:
            for line, cells in read_rows(Path(self.path)):
                if not self.header:
                    self.header = header = [name.strip() for name in cells]
                    self._check_header(header)
                else:
                    yield line, {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
        except NetwrightError:
            raise
        except OSError as error:
            raise NetwrightError(f"cannot read the table {self.path}: {format_error(error)}") from None
        except ValueError as error:
            raise NetwrightError(f"{self.path}, {error}") from None
        self._check_header(self.header)

    def _check_header(self, header: Collection[str]) -> None:
        seen: set[str] = set()
        for name in header:
            if not name or name in seen:
                what = f"two columns are called {name!r}" if name else "a column has no name"
                raise NetwrightError(f"{self.path}, line 1: {what}; the header names every column once")
            seen.add(name)
        if not header:
            raise NetwrightError(f"{self.path} is empty; a table begins with a header that names its columns")

    def _wrong(self, line: int, column: str, why: str) -> NoReturn:
        raise NetwrightError(f"{self.path}, line {line}, column {column!r}: {why}")


def _metrics(given: Mapping[str, Direction] | Sequence[Metric]) -> tuple[Metric, ...]:
    metrics = objectives_of((), given)
    for metric in metrics:
        if not isinstance(metric, Metric):
            raise NetwrightError(f"metrics are {{'top1': 'max'}}, or a list of netwright.Metric, not of {metric!r}")
    return metrics


def _options(texts: Collection[str]) -> dict[str, Any]:
    """Text to option, the same kind for all: whole numbers, else numbers, else the texts themselves."""
    numbers = {text: _number(text) for text in texts}
    # 007 is a name: as a number it would be the same as 7.
    if None in numbers.values() or any(re.fullmatch(r"[-+]?0\d+", text) for text in texts):
        return {text: text for text in texts}
    if any(isinstance(value, float) for value in numbers.values()):
        return {text: float(text) for text in texts}
    return numbers


def _number(text: str) -> int | float | None:
    """A finite number, whole where it is written so; None for anything else."""
    try:
        value = float(text)
        if not isfinite(value):
            return None
        return int(text) if re.fullmatch(r"[-+]?\d+", text) else value
    except ValueError:
        return None
