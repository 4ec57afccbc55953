"""Rows of option positions that are drawn, crossed and changed by the thousand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import numpy as np

from ..core.encoding import Encoding
from ..core.space import Space


class Seen(Protocol):
    """A set of rows that grows."""

    def __contains__(self, row: object) -> bool: ...
    def add(self, row: bytes) -> None: ...


class IntegerEncoding(Encoding):
    """An encoding whose rows are drawn, crossed and changed."""

    def random(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Positions of every choice, active or not: complete rows, for :meth:`canonical`."""
        return rng.integers(0, self.sizes, size=(n, len(self.sizes)))

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Random candidates: each active choice takes each of its options with the same probability."""
        return self.canonical(self.random(n, rng))

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


def new_rows(rows: np.ndarray, seen: Seen) -> np.ndarray:
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
