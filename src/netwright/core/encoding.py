"""Candidates of a space as arrays, so that thousands are compared, counted and made canonical at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, overload

import numpy as np

from .candidate import Candidate, Option
from .space import Space

Tables = list[tuple[int, np.ndarray]]
"""A conjunction: the place of every choice that is asked, and which of its positions are allowed; one entry more,
false, which -1 finds."""


class Encoding:
    """A space whose candidates are rows of option positions, int64 of shape (n, choices).

    A position is -1 where the choice is not active, so that one candidate has one row.

    Args:
        space: the space of the candidates.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self.sizes = np.array([len(c.options) for c in space], dtype=np.int64)

    @cached_property
    def _conditions(self) -> list[tuple[list[int], list[Tables]]]:
        """Choices, by their places, that are active under the same clauses, of which one must hold; parents first."""
        place = {choice.name: i for i, choice in enumerate(self.space)}
        alike: dict[str, list[int]] = {}
        found: list[tuple[list[int], list[Tables]]] = []
        for choice in self.space:
            clauses = self.space.conditions(choice.name)
            if not all(clauses):  # an empty clause always holds
                continue
            same = alike.setdefault(repr(clauses), [])
            same.append(place[choice.name])
            if len(same) == 1:
                tables = [
                    [
                        (place[name], np.array([*(o in allowed for o in self.space[name].options), False]))
                        for name, allowed in clause.items()
                    ]
                    for clause in clauses
                ]
                found.append((same, tables))
        return found

    def canonical(self, positions: np.ndarray) -> np.ndarray:
        """Rows with -1 where a choice is not active; what is given there does not matter."""
        rows = positions.copy()
        for places, clauses in self._conditions:
            active = np.zeros(len(rows), dtype=bool)
            for clause in clauses:
                holds = np.ones(len(rows), dtype=bool)
                for parent, allowed in clause:
                    holds &= allowed[rows[:, parent]]
                active |= holds
            rows[:, places] = np.where(active[:, None], rows[:, places], -1)
        return rows

    def of(self, candidates: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """The canonical rows of candidates. Raises :class:`SpaceError` for what is none of the space."""
        if isinstance(candidates, Candidates) and candidates.encoding.space is self.space:
            return candidates.rows
        found = [self._row(candidate) for candidate in candidates]
        given = np.array(found, dtype=np.int64).reshape(len(found), len(self.sizes))
        rows = self.canonical(np.maximum(given, 0))
        for i in np.flatnonzero(((given < 0) & (rows >= 0)).any(axis=1)).tolist():
            self.space.candidate(candidates[i])  # says what is missing
        return rows

    def _row(self, candidate: Mapping[str, Any]) -> list[int]:
        choices: Mapping[str, Any] = candidate.choices if isinstance(candidate, Candidate) else candidate
        try:
            row = [table[type(o := choices[name]), o] if name in choices else -1 for name, table in self._tables]
            if len(row) - row.count(-1) == len(choices):
                return row
        except (KeyError, TypeError):
            pass
        found: list[int] = self.space.indices(self.space.candidate(candidate)).tolist()  # says what is wrong
        return found

    @cached_property
    def _tables(self) -> list[tuple[str, dict[tuple[type, Option], int]]]:
        """Of every choice, its options' positions, by type and value: 1, 1.0 and True are different options."""
        return [(c.name, {(type(o), o): i for i, o in enumerate(c.options)}) for c in self.space]

    def candidates(self, rows: np.ndarray) -> list[Candidate]:
        """The candidates of canonical rows."""
        named: list[tuple[str, tuple[Option, ...]]] = [(c.name, c.options) for c in self.space]
        return [
            Candidate.of_options({name: options[i] for (name, options), i in zip(named, row, strict=True) if i >= 0})
            for row in rows.tolist()
        ]


class Candidates(Sequence[Candidate]):
    """Candidates as rows of option positions: each is made when it is asked for.

    Args:
        encoding: of their space.
        rows: canonical, shape (n, choices).
    """

    def __init__(self, encoding: Encoding, rows: np.ndarray) -> None:
        self.encoding, self.rows = encoding, rows

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, at: int) -> Candidate: ...
    @overload
    def __getitem__(self, at: slice | np.ndarray) -> Candidates: ...
    def __getitem__(self, at: int | slice | np.ndarray) -> Candidate | Candidates:
        if isinstance(at, slice | np.ndarray):
            return Candidates(self.encoding, self.rows[at])
        return self.encoding.candidates(self.rows[at][None])[0]

    def __iter__(self) -> Iterator[Candidate]:
        return iter(self.encoding.candidates(self.rows))
