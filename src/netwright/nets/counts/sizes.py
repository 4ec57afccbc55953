"""Sizes of tensors in many candidates at once: products of a few numbers that options change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import prod

import numpy as np

from ...core.candidate import Option
from ...core.space import Choice

RANK = 8  # dimensions of a tensor that the table has room for

Effects = dict[tuple[str, ...], dict[tuple[Option, ...], np.ndarray]]
"""An axis and those that it reads, their options, and what these add to the sizes of all tensors."""

Term = tuple[int, int]
"""A whole number, and the product of sizes that it is multiplied with, by its place."""


class Sizes:
    """The sizes of all tensors of a trace, as functions of option positions.

    Few of them vary, and these in few ways: what a width does to one tensor it does to all behind it. A number of
    elements is therefore a whole number times the product of some of these *numbers*; of the products, too, few differ.

    Args:
        shapes: of the whole network's tensors.
        effects: what options add to them.
        choices: of the space.
    """

    def __init__(self, shapes: Sequence[tuple[int, ...]], effects: Effects, choices: Sequence[Choice]) -> None:
        self._shapes = shapes
        self._changes: list[tuple[list[int], list[int], list[int], np.ndarray]] = []  # see products
        self._full: list[int] = []
        self._most: list[int] = []
        self._number_at = self._numbers(effects, {c.name: i for i, c in enumerate(choices)}, choices)
        self._products: dict[tuple[int, ...], int] = {(): 0}
        self._elements: dict[int, Term] = {}

    def _numbers(
        self, effects: Effects, place: Mapping[str, int], choices: Sequence[Choice]
    ) -> dict[tuple[int, int], int]:
        """Tensor and dimension to the number that it is, for those that vary. Sizes that all options change alike are
        one number."""
        tables = {
            names: _tabulated(added, [choices[place[n]].options for n in names])
            for names, added in effects.items()
            if added  # an axis of one option adds nothing
        }
        changes: dict[tuple[int, int], list[tuple[tuple[str, ...], np.ndarray]]] = {}
        for names, table in tables.items():
            flat = table.reshape(-1, *table.shape[-2:])
            for tensor, dim in np.argwhere(flat.any(axis=0)).tolist():
                changes.setdefault((tensor, dim), []).append((names, table[..., tensor, dim]))
        known: dict[tuple[object, ...], int] = {}
        found: dict[tuple[int, int], int] = {}
        columns: dict[tuple[str, ...], dict[int, np.ndarray]] = {}
        for (tensor, dim), parts in changes.items():
            full = self._shapes[tensor][dim]
            key = (full, *((names, part.tobytes()) for names, part in parts))
            if key not in known:
                known[key] = len(known)
                self._full.append(full)
                self._most.append(full + sum(max(int(part.max()), 0) for _, part in parts))
                for names, part in parts:
                    columns.setdefault(names, {})[known[key]] = part
            found[tensor, dim] = known[key]
        for names, own in columns.items():
            places = [place[name] for name in names]
            sizes = [len(choices[at].options) for at in places]
            self._changes.append((places, sizes, list(own), np.stack([p.ravel() for p in own.values()], axis=1)))
        return found

    def term(self, sizes: Iterable[tuple[int, int]]) -> Term:
        """The product of some sizes, each named by tensor and dimension."""
        factor, numbers = 1, list[int]()
        for at in sizes:
            number = self._number_at.get(at)
            if number is None:
                factor *= self._shapes[at[0]][at[1]]
            else:
                numbers.append(number)
        return factor, self._product(tuple(sorted(numbers)))

    def elements(self, tensor: int) -> Term:
        """The number of elements of a tensor."""
        if tensor not in self._elements:
            self._elements[tensor] = self.term((tensor, d) for d in range(len(self._shapes[tensor])))
        return self._elements[tensor]

    def _product(self, numbers: tuple[int, ...]) -> int:
        if numbers not in self._products:
            self._product(numbers[:-1])  # of which it is made
            self._products[numbers] = len(self._products)
        return self._products[numbers]

    def products(self, rows: np.ndarray) -> np.ndarray:
        """The values of all products that were asked for, shape (products, candidates), for rows of positions."""
        numbers = np.empty((len(self._full), len(rows)), dtype=np.int64)
        numbers[:] = np.array(self._full, dtype=np.int64)[:, None]
        for places, sizes, own, table in self._changes:
            at = np.zeros(len(rows), dtype=np.int64)
            for place, size in zip(places, sizes, strict=True):
                at = at * size + rows[:, place] % size  # what is not active is whole, as the last option is
            numbers[own] += table[at].T
        found = np.ones((len(self._products), len(rows)), dtype=np.int64)
        for parts, product in self._products.items():
            if parts:
                np.multiply(found[self._products[parts[:-1]]], numbers[parts[-1]], out=found[product])
        return found

    def most(self) -> list[int]:
        """What each product is at most, as numbers of any size."""
        return [prod(self._most[number] for number in parts) for parts in self._products]


class Sum:
    """A sum of terms, each of which counts where a condition holds (see :class:`Running`)."""

    def __init__(self) -> None:
        self._factors: dict[int, dict[int, int]] = {}
        self._arrays: dict[int, tuple[np.ndarray, np.ndarray]] | None = None

    def add(self, condition: int, term: Term) -> None:
        """Add a term under a condition."""
        factor, product = term
        own = self._factors.setdefault(condition, {})
        own[product] = own.get(product, 0) + factor
        self._arrays = None

    def value(self, products: np.ndarray, holds: np.ndarray) -> np.ndarray:
        """What it is, int64 of shape (candidates,)."""
        if self._arrays is None:
            self._arrays = {
                condition: (np.array([*own.values()], dtype=np.int64), np.array([*own]))
                for condition, own in self._factors.items()
            }
        found = np.zeros(holds.shape[1], dtype=np.int64)
        for condition, (factors, which) in self._arrays.items():
            found += factors @ products[which] * holds[condition]
        return found

    def most(self, products: Sequence[int]) -> int:
        """What it is at most, of what the products are at most."""
        return sum(factor * products[at] for own in self._factors.values() for at, factor in own.items())


def _tabulated(added: Mapping[tuple[Option, ...], np.ndarray], options: list[tuple[Option, ...]]) -> np.ndarray:
    """What options add, shape (options of the first, of the second, ..., tensors, RANK); nothing where not given."""
    table = np.zeros((*map(len, options), *next(iter(added.values())).shape), dtype=np.int64)
    for given, effect in added.items():
        table[tuple(own.index(o) for own, o in zip(options, given, strict=True))] = effect
    return table


def padded(shapes: Sequence[tuple[int, ...]]) -> np.ndarray:
    """Shapes as an array, filled up with ones."""
    sizes = np.ones((len(shapes), RANK), dtype=np.int64)
    for row, shape in zip(sizes, shapes, strict=True):
        row[: len(shape)] = shape[:RANK]
    return sizes
