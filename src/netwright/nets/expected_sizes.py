"""The sizes that tensors within a cut network should have, by the dependency groups, and whether they have them.

A cut network may run and compute something else than was meant: of four heads of 16 channels, of which two were cut,
a reshape by ``channels // heads`` makes four heads of 8. So each operator's results are compared with what the labels
say must be left of them; where the first of them differs is also what tells which attribute holds a size.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .cut import Cut
from .dependency_groups import DependencyGroups
from .inputs import shape_of, tensors_in
from .trace import Op, Watching, op_name
from .union_find import RIGID

LAYOUT = frozenset("clone contiguous as_strided alias detach _to_copy lift_fresh".split())  # noqa: SIM905
"""Operators that come and go with the sizes: a dimension of 1 needs no copy to be laid out otherwise."""

SAME = {"_unsafe_view": "view", "_reshape_alias": "view", "reshape": "view"}

Shape = tuple[int | None, ...]
"""None stands for a size that is not known."""


class Deviation(Exception):
    """A tensor has another size than the dependency groups say."""


class ExpectedSizes:
    """The sizes of all tensors of a network, for any cut of channels.

    Args:
        deps: the dependency groups of the whole network.
    """

    def __init__(self, deps: DependencyGroups) -> None:
        self.trace = deps.trace
        self._weights = {
            name: [deps.labels.resolved(row) for row in deps.known[position]]
            for name, position in self.trace.names.items()
            if position in deps.known
        }
        own = [row for rows in self._weights.values() for row in rows]
        self._tied = np.unique(np.concatenate([*own, np.zeros(1, dtype=np.int64)]))
        self.rows: list[np.ndarray] = []
        """Labels of dimensions that may shrink, resolved, each once."""
        known: dict[int, int | None] = {}

        def row(labels: np.ndarray) -> int | None:
            """The place in :attr:`rows`; None where none of the labels may shrink or is known."""
            if id(labels) not in known:
                resolved = deps.labels.resolved(labels)
                known[id(labels)] = len(self.rows) if np.any(resolved != RIGID) else None
                if known[id(labels)] is not None:
                    self.rows.append(resolved)
            return known[id(labels)]

        self.ops: list[tuple[Op, tuple[tuple[int | None, ...] | None, ...]]] = []
        """The operators that are compared, and for each result and dimension its row; None for unknown results."""
        for op in self.trace.ops:
            if op.name not in LAYOUT:
                said = (p if p not in deps.unsaid and deps.is_used(p) else None for p in op.writes)
                results = (None if p is None else deps.known.get(p) for p in said)
                self.ops.append((op, tuple(None if r is None else tuple(map(row, r)) for r in results)))
        self._flat = np.concatenate([*self.rows, np.zeros(1, dtype=np.int64)])
        self._starts = np.cumsum([0, *(len(r) for r in self.rows)])
        loose = ~np.isin(self._flat, self._tied)
        self._unknown = np.add.reduceat(loose, self._starts).astype(bool)
        self._most = int(max((int(r.max()) for r in (*self.rows, *own) if len(r)), default=0)) + 1

    def of_weight(self, tensor: str, dim: int) -> np.ndarray | None:
        """The labels of a weight's dimension, if the network reads it."""
        return self._weights[tensor][dim] if tensor in self._weights else None

    def watcher(self, cut: Cut) -> Watcher:
        """Compares a run of the network as the cut with what it should be."""
        gone = self._gone(cut)
        if gone is None:
            return Watcher([])
        left = np.add.reduceat(~gone[self._flat], self._starts)
        sizes: list[int | None] = [None if u else int(n) for u, n in zip(self._unknown, left, strict=True)]
        expected: list[tuple[Op, tuple[Shape | None, ...]]] = []
        for op, results in self.ops:
            shapes: list[Shape | None] = []
            for position, rows in zip(op.writes, results, strict=True):
                whole = self.trace.shapes[position]
                shapes.append(rows and tuple(n if r is None else sizes[r] for r, n in zip(rows, whole, strict=True)))
            expected.append((op, tuple(shapes)))
        return Watcher(expected)

    def _gone(self, cut: Cut) -> np.ndarray | None:
        """By label, whether it is gone; None where the cut is not one of whole labels (windows, blocks)."""
        if cut.replace or cut.choose or cut.transforms:
            return None
        gone = np.zeros(self._most, dtype=bool)
        masks: dict[tuple[str, int], np.ndarray] = {}
        for tensor, dims in cut.keep.items():
            for dim, ranges in dims.items():
                labels = self.of_weight(tensor, dim)
                if labels is None:
                    continue
                mask = np.ones(len(labels), dtype=bool)
                for start, stop in ranges:
                    mask[start:stop] = False
                masks[tensor, dim] = mask
                gone[labels[mask]] = True
        if gone[RIGID]:
            return None
        for tensor, rows in self._weights.items():
            for dim, labels in enumerate(rows):
                if np.any(gone[labels] != masks.get((tensor, dim), False)):
                    return None
        return gone


class Watcher(Watching):
    """Raises :class:`Deviation` at the first tensor that has another size than was expected.

    Attributes:
        seen: how many operators ran before the first that did not do what was expected of it.
        deviation: what was raised.
    """

    def __init__(self, expected: list[tuple[Op, tuple[Shape | None, ...]]]) -> None:
        super().__init__()
        self._expected = expected
        self.seen = 0
        self.deviation: Deviation | None = None
        self._lost = not expected

    @property
    def place(self) -> str:
        """The module in which the first operator is that was not as expected."""
        return self._expected[self.seen][0].module if self.seen < len(self._expected) else ""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = self.compute(func, args, kwargs or {})
        name = op_name(func)
        if name in LAYOUT:
            return result
        if self.seen >= len(self._expected) or _same(self._expected[self.seen][0].name) != _same(name):
            self._lost = True  # another way through the network: nothing is known of it
        self.seen += 1
        if self._lost:
            return result
        op, shapes = self._expected[self.seen - 1]
        for tensor, shape in zip(tensors_in(result), shapes, strict=False):
            now = shape_of(tensor)
            if shape is None:
                continue
            if len(shape) != len(now) or any(n is not None and n != m for n, m in zip(shape, now, strict=True)):
                wanted = tuple(m if n is None else n for n, m in zip(shape, now, strict=False))
                if 1 in wanted and sorted(wanted) == sorted(now):  # torch orders dimensions of 1 as it likes (einsum)
                    self._lost = True
                    return result
                place = f" in {op.module}" if op.module else ""
                self.seen -= 1
                self.deviation = Deviation(f"{name}{place} gives a tensor of {now}, which should be {wanted}")
                raise self.deviation
        return result


def _same(name: str) -> str:
    return SAME.get(name, name)
