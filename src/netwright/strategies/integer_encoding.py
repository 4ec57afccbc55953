"""Candidates of a space as arrays, so that thousands are drawn, crossed and compared at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np

from ..core.candidate import Candidate, Option
from ..core.space import Space


class IntegerEncoding:
    """A space whose candidates are rows of option positions, int64 of shape (n, choices).

    A position is -1 where the choice is not active, so that one candidate has one row.

    Args:
        space: the space of the candidates.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self.sizes = np.array([len(c.options) for c in space], dtype=np.int64)
        self._known: WeakKeyDictionary[Candidate, np.ndarray] = WeakKeyDictionary()

    @cached_property
    def _conditions(self) -> list[tuple[int, list[list[tuple[int, np.ndarray]]]]]:
        """For every conditional choice its place and its clauses: places of parents, and which positions they allow.

        The table of a parent has one entry more, false, which -1 finds.
        """
        place = {choice.name: i for i, choice in enumerate(self.space)}
        found = []
        for choice in self.space:
            clauses = self.space.conditions(choice.name)
            if all(clauses):  # an empty clause always holds
                tables = [
                    [
                        (place[name], np.array([*(o in allowed for o in self.space[name].options), False]))
                        for name, allowed in clause.items()
                    ]
                    for clause in clauses
                ]
                found.append((place[choice.name], tables))
        return found

    def canonical(self, positions: np.ndarray) -> np.ndarray:
        """Rows with -1 where a choice is not active; what is given there does not matter."""
        rows = positions.copy()
        for at, clauses in self._conditions:
            active = np.zeros(len(rows), dtype=bool)
            for clause in clauses:
                holds = np.ones(len(rows), dtype=bool)
                for parent, allowed in clause:
                    holds &= allowed[rows[:, parent]]
                active |= holds
            rows[~active, at] = -1
        return rows

    def random(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Positions of every choice, active or not: complete rows, for :meth:`canonical`."""
        return rng.integers(0, self.sizes, size=(n, len(self.sizes)))

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Random candidates: each active choice takes each of its options with the same probability."""
        return self.canonical(self.random(n, rng))

    def of(self, candidates: Sequence[Candidate]) -> np.ndarray:
        """The rows of candidates."""
        rows = np.empty((len(candidates), len(self.sizes)), dtype=np.int64)
        for i, candidate in enumerate(candidates):
            if candidate not in self._known:
                self._known[candidate] = self.space.indices(candidate)
            rows[i] = self._known[candidate]
        return rows

    def candidates(self, rows: np.ndarray) -> list[Candidate]:
        """The candidates of canonical rows."""
        named: list[tuple[str, tuple[Option, ...]]] = [(c.name, c.options) for c in self.space]
        return [
            Candidate.of_options({name: options[i] for (name, options), i in zip(named, row, strict=True) if i >= 0})
            for row in rows.tolist()
        ]

    def children(self, one: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Mutated crosses of pairs of rows: see :func:`cross` and :func:`mutate` of single candidates."""
        child = np.where(rng.random(one.shape) < 0.5, one, other)
        child = np.where(child < 0, np.maximum(one, other), child)
        active = self._free(child)
        draws = np.where(active, rng.random(child.shape), 2.0)
        changed = draws < 1 / np.maximum(active.sum(axis=1, keepdims=True), 1)
        changed[np.arange(len(child)), draws.argmin(axis=1)] = True
        step = np.where(rng.random(child.shape) < 0.5, 1, -1)
        step = np.where(child == 0, 1, np.where(child == self.sizes - 1, -1, step))
        moved = np.where(rng.random(child.shape) < 0.5, child + step, self._other(child, rng))
        return self._with(child, changed & active, moved, rng)

    def neighbours(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A neighbour of each row: one active choice takes another option."""
        draws = np.where(self._free(rows), rng.random(rows.shape), 2.0)
        changed = np.zeros(rows.shape, dtype=bool)
        changed[np.arange(len(rows)), draws.argmin(axis=1)] = True
        return self._with(rows, changed & (draws < 2), self._other(rows, rng), rng)

    def _free(self, rows: np.ndarray) -> np.ndarray:
        """Where there is something to choose."""
        return (rows >= 0) & (self.sizes > 1)

    def _other(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return (rows + rng.integers(1, np.maximum(self.sizes, 2), size=rows.shape)) % self.sizes

    def _with(self, rows: np.ndarray, changed: np.ndarray, moved: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Rows with changes; choices that these make active take random options."""
        filled = np.where(rows < 0, self.random(len(rows), rng), rows)
        return self.canonical(np.where(changed, moved, filled))


def kinds_of(space: Space) -> list[list[int]]:
    """Sets of choices with the same options, as their places in the space."""
    kinds: dict[tuple[object, ...], list[int]] = {}
    for i, choice in enumerate(space):
        kinds.setdefault((type(choice.options[0]), *choice.options), []).append(i)
    return list(kinds.values())


def new_rows(rows: np.ndarray, seen: set[bytes]) -> np.ndarray:
    """The rows that are not in ``seen``, each once; they are added to it."""
    keep = []
    for i, row in enumerate(rows):
        key = row.tobytes()
        if key not in seen:
            seen.add(key)
            keep.append(i)
    return rows[keep]


def keys(rows: Iterable[np.ndarray]) -> set[bytes]:
    """Rows as :func:`new_rows` remembers them."""
    return {row.tobytes() for row in rows}
