"""A space of listed candidates: of all combinations of options, only some exist."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from .candidate import Candidate, digest
from .errors import SpaceError
from .space import Choice, Space


class EnumeratedSpace(Space):
    """The candidates of a list and no others, such as the rows of a table.

    What :meth:`build` gives may be none of them; :meth:`nearest` says which listed one stands for it.

    Args:
        choices: see :class:`Space`.
        rows: the candidates, each a mapping of names to options; at least one, all different.
    """

    def __init__(self, choices: Iterable[Choice], rows: Iterable[Mapping[str, Any]]) -> None:
        super().__init__(choices)
        self._rows = [Space.candidate(self, row) for row in rows]
        self._at = {candidate: i for i, candidate in enumerate(self._rows)}
        if not self._rows:
            raise SpaceError("a list of candidates needs at least one")
        if len(self._at) < len(self._rows):
            twice = next(c for i, c in enumerate(self._rows) if self._at[c] != i)
            raise SpaceError(f"the candidate {twice.key} is listed twice; list every one once")

    def candidate(self, choices: Mapping[str, Any]) -> Candidate:
        found = super().candidate(choices)
        if found not in self._at:
            raise SpaceError(f"{found.key} is none of the {len(self._rows)} listed candidates")
        return found

    def sample(self, rng: np.random.Generator) -> Candidate:
        """A random candidate: each listed one with the same probability."""
        return self._rows[int(rng.integers(len(self._rows)))]

    def enumerate(self) -> Iterator[Candidate]:
        """Every candidate, in the order of the list."""
        return iter(self._rows)

    @property
    def smallest(self) -> Candidate:
        """The listed candidate that is nearest to the first option of every choice."""
        return self._rows[int(np.argmin(self._distances(super().smallest)))]

    @property
    def largest(self) -> Candidate:
        """The listed candidate that is nearest to the last option of every choice."""
        return self._rows[int(np.argmin(self._distances(super().largest)))]

    @cached_property
    def size(self) -> int:
        return len(self._rows)

    @cached_property
    def fingerprint(self) -> str:
        """Equal for lists of the same candidates of the same choices, in any order."""
        return digest([super().fingerprint, sorted(candidate.key for candidate in self._at)])

    def nearest(self, built: Candidate, taken: Collection[Candidate], rng: np.random.Generator) -> Candidate:
        """The candidate that stands for one that :meth:`build` gave.

        That is itself where it is listed, else the nearest that is not taken, by lot among equally near ones; any
        where all are taken.
        """
        if built in self._at:
            return built
        distances = self._distances(built) + 1e-6 * rng.random(len(self._rows))
        distances[[self._at[c] for c in taken]] = np.inf
        return self._rows[int(np.argmin(distances))]

    def _distances(self, candidate: Candidate) -> np.ndarray:
        """How far every row is, shape (rows,): summed over the choices, how many of a choice's steps lie between
        the options, as a share of all; 1 where only one of the two has the choice."""
        positions, steps = self._positions
        own = self.indices(candidate)
        apart = np.abs(positions - own) / steps
        return np.where((positions < 0) != (own < 0), 1.0, apart).sum(axis=1)

    @cached_property
    def _positions(self) -> tuple[np.ndarray, np.ndarray]:
        """The rows as option positions, (rows, choices), and the steps between a choice's ends, (choices,)."""
        positions = np.array([self.indices(c) for c in self._rows]).reshape(len(self._rows), len(self))
        return positions, np.array([max(len(c.options) - 1, 1) for c in self])
