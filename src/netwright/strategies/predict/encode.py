"""Candidates as numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from ...core.candidate import Candidate
from ...core.space import Choice, Space
from ..integer_encoding import IntegerEncoding, kinds_of


@dataclass(frozen=True)
class Features:
    """What predictors see of n candidates; where a choice is not active it carries no signal: all its columns are 0.

    Args:
        options: a column for every option, 1 where it is chosen, float64 of shape (n, options).
        positions: the positions of a choice among numbers: how far up its option stands, from 1 / options to 1; of
            another choice its columns of ``options``. Shape (n, positions).
        totals: for every set of choices that share their options, how many of them take each. Shape (n, totals).
        regions: the same stretch by stretch, for choices among numbers as the sum of their positions: a network's
            stages, as far as a space shows them. Shape (n, regions).
        costs: logarithms of the exact metrics, and what other models predict, shape (n, costs).
        neighbours: pairs of columns of ``positions`` that belong to neighbouring choices: one after the other in the
            space, or a choice and one that it depends on. Integers of shape (pairs, 2).
    """

    options: np.ndarray
    positions: np.ndarray
    totals: np.ndarray
    regions: np.ndarray
    costs: np.ndarray
    neighbours: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), dtype=np.int64))

    def __len__(self) -> int:
        return len(self.options)

    def __getitem__(self, rows: np.ndarray | slice) -> Features:
        return Features(
            self.options[rows],
            self.positions[rows],
            self.totals[rows],
            self.regions[rows],
            self.costs[rows],
            self.neighbours,
        )

    def __add__(self, other: Features) -> Features:
        return Features(
            np.vstack([self.options, other.options]),
            np.vstack([self.positions, other.positions]),
            np.vstack([self.totals, other.totals]),
            np.vstack([self.regions, other.regions]),
            np.vstack([self.costs, other.costs]),
            self.neighbours,
        )

    def with_costs(self, more: np.ndarray) -> Features:
        """With further columns of ``costs``, shape (n, columns)."""
        return replace(self, costs=np.hstack([self.costs, more]))

    @cached_property
    def matrix(self) -> np.ndarray:
        """For models without structure: options, positions and costs, shape (n, columns)."""
        return np.hstack([self.options, self.positions, self.costs])


class Encoder:
    """Makes features of the candidates of a space.

    Args:
        space: the space of the candidates.
    """

    def __init__(self, space: Space) -> None:
        self.encoding = IntegerEncoding(space)
        self._ordered = [is_ordered(c) for c in space]
        self._kinds = kinds_of(space)
        self._stretches = [stretch for places in self._kinds for stretch in _stretches(space, places)]
        self._neighbours = _neighbours(space, self._ordered)

    def __call__(self, candidates: Sequence[Candidate], exact: Sequence[Mapping[str, float]] = ()) -> Features:
        """The features of candidates; ``exact``: the exact metrics of each, or nothing."""
        costs = np.array([list(values.values()) for values in exact], dtype=np.float64)
        return self.rows(self.encoding.of(candidates), costs.reshape(len(candidates), -1))

    def rows(self, rows: np.ndarray, exact: np.ndarray) -> Features:
        """The features of rows (see :class:`IntegerEncoding`) and their exact metrics, shape (n, metrics)."""
        options: list[np.ndarray] = []
        positions: list[np.ndarray] = []
        for size, ordered, at in zip(self.encoding.sizes, self._ordered, rows.T, strict=True):
            own = [(at == i).astype(np.float64) for i in range(size)]
            options += own
            positions += [(at + 1) / size] if ordered else own
        totals: list[np.ndarray] = []
        for places in self._kinds:
            size = self.encoding.sizes[places[0]]
            totals += [(rows[:, places] == i).sum(axis=1) for i in range(size)]
        regions: list[np.ndarray] = []
        for places in self._stretches:
            part, size = rows[:, places], self.encoding.sizes[places[0]]
            ordered = self._ordered[places[0]]
            regions += [(part + 1).sum(axis=1) / size] if ordered else [(part == i).sum(axis=1) for i in range(size)]
        return Features(
            _columns(options, len(rows)),
            _columns(positions, len(rows)),
            _columns(totals, len(rows)),
            _columns(regions, len(rows)),
            np.log1p(np.maximum(exact, 0)),
            self._neighbours,
        )


def _columns(columns: list[np.ndarray], n: int) -> np.ndarray:
    return np.array(columns, dtype=np.float64).reshape(len(columns), n).T


def _neighbours(space: Space, ordered: list[bool]) -> np.ndarray:
    """The pairs of columns of ``positions`` whose choices are neighbours."""
    columns: list[range] = []
    start = 0
    for choice, is_one in zip(space, ordered, strict=True):
        columns.append(range(start, start + (1 if is_one else len(choice.options))))
        start = columns[-1].stop
    place = {choice.name: i for i, choice in enumerate(space)}
    pairs = {(i, i + 1) for i in range(len(columns) - 1)}
    for choice in space:
        pairs |= {(place[parent], place[choice.name]) for clause in space.conditions(choice.name) for parent in clause}
    found = [(a, b) for one, other in sorted(pairs) for a in columns[one] for b in columns[other]]
    return np.array(found, dtype=np.int64).reshape(len(found), 2)


def _stretches(space: Space, places: list[int]) -> list[list[int]]:
    """Choices of one kind, in their order, as stretches.

    Conditions tell stages apart: a stage's later blocks depend on its depth, and its first ones on nothing. Without
    conditions n choices are some sqrt(n) stretches of equal length.
    """
    choices = list(space)
    parents = [frozenset(parent for clause in space.conditions(choices[i].name) for parent in clause) for i in places]
    if not any(parents):
        return [part.tolist() for part in np.array_split(places, max(round(len(places) ** 0.5), 1))]
    found = [[places[0]]]
    for before, now, place in zip(parents, parents[1:], places[1:], strict=False):
        if before and now != before:
            found.append([])
        found[-1].append(place)
    return found


def is_ordered(choice: Choice) -> bool:
    """Whether the options are numbers."""
    return all(isinstance(o, int | float) and not isinstance(o, bool) for o in choice.options)
