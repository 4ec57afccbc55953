"""Labels of the tensors of a trace: which indices meet, as far as operators have passed labels on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from math import prod

import numpy as np

from ..trace import Op, Ref, Trace
from ..union_find import UnionFind

Rows = list[np.ndarray]
"""One array of labels per dimension."""


class TensorLabels:
    """Labels of the tensors of a trace.

    Args:
        trace: the trace of the whole network.

    Attributes:
        labels: the sets of labels that were united.
        known: labels of the tensors that were read or written, by position.
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.labels = UnionFind()
        self.known: dict[int, Rows] = {}
        self._readers: dict[int, list[Op]] = defaultdict(list)
        for op in trace.ops:
            for position in dict.fromkeys(op.reads):
                self._readers[position].append(op)

    def is_used(self, position: int) -> bool:
        """Whether an operator reads a tensor, or the network gives it."""
        return position in self._readers or self.trace.buffers[position] in self.trace.outputs

    def read(self, position: int) -> Rows:
        """A tensor's labels; weights get labels of their own when first seen, other new tensors are rigid."""
        known = self.known.get(position)
        if known is None:
            fresh = self.trace.buffers[position] in self.trace.weights
            known = [self.labels.new(n) if fresh else self.labels.fixed(n) for n in self.trace.shapes[position]]
            self.known[position] = known
        return known

    def write(self, position: int, labels: Rows) -> None:
        """Give a tensor its labels; one that has labels is changed in place, which unites old and new."""
        shape = self.trace.shapes[position]
        if tuple(len(x) for x in labels) != shape:
            for array in labels:
                self.labels.rigid(array)
            labels = [self.labels.fixed(n) for n in shape]
        if position in self.known:  # in place
            for old, new in zip(self.known[position], labels, strict=True):
                self.labels.unite(old, new)
        else:
            self.known[position] = labels

    def argument(self, op: Op, at: int) -> Rows | None:
        """The labels of an operator's argument; None where that is no tensor."""
        value = op.args[at] if at < len(op.args) else None
        return self.read(value.position) if isinstance(value, Ref) else None

    def broadcast(self, positions: Sequence[int], out: tuple[int, ...]) -> Rows:
        """The labels of what tensors give index by index, broadcast to the shape ``out``."""
        result: list[np.ndarray | None] = [None] * len(out)
        for position in positions:
            labels = self.read(position)
            for dim in range(1, min(len(labels), len(out)) + 1):
                if len(labels[-dim]) == 1 and out[-dim] != 1:
                    continue  # broadcast: says nothing about the result's indices
                known = result[-dim]
                if known is None:
                    result[-dim] = labels[-dim]
                else:
                    self.labels.unite(known, labels[-dim])
        return [x if x is not None else self.labels.fixed(n) for x, n in zip(result, out, strict=True)]

    # -- reshapes ----------------------------------------------------------------------------------------------

    def reshaped(self, labels: Rows, position: int) -> Rows | None:
        """Labels after a reshape: runs of dimensions with the same number of elements are matched."""
        out = self.trace.shapes[position]
        result: Rows = []
        i = j = 0
        while i < len(labels) or j < len(out):
            k, m = i + 1, j + 1
            while (a := prod(len(x) for x in labels[i:k])) != (b := prod(out[j:m])):
                if a < b and k < len(labels):
                    k += 1
                elif b < a and m < len(out):
                    m += 1
                else:
                    return None
            if k > len(labels) and m > len(out):
                return None
            result += self._split(self._merged(labels[i:k]), out[j:m], position, j)
            i, j = k, m
        return result

    def _merged(self, labels: Rows) -> np.ndarray:
        """Labels of dimensions laid out as one, the last running fastest."""
        merged = labels[0] if labels else self.labels.fixed(1)
        for inner in labels[1:]:
            if len(inner) == 1:
                continue
            if len(merged) == 1:
                merged = inner
            elif self.labels.causes(inner).all().all():
                merged = np.repeat(merged, len(inner))
            elif self.labels.causes(merged).all() or len(np.unique(self.labels.find(merged))) == 1:
                self.labels.rigid(merged)
                merged = np.tile(inner, len(merged))
            else:  # two sizes in one: the outer may shrink, in steps of the whole inner
                self.labels.rigid(inner)
                merged = np.repeat(merged, len(inner))
        return merged

    def _split(self, labels: np.ndarray, out: tuple[int, ...], position: int, dim: int) -> Rows:
        """Labels of one dimension laid out as several (or none, for a dimension of size 1).

        Args:
            labels: the labels of the dimension.
            out: sizes that it becomes.
            position, dim: the tensor that it becomes, and the first of the new dimensions there.
        """
        if len(out) <= 1:
            return [labels][: len(out)]
        outer, rest = out[0], int(prod(out[1:]))
        table = self.labels.find(labels).reshape(outer, rest)
        if outer == 1:
            return [self.labels.fixed(1), *self._split(labels, out[1:], position, dim + 1)]
        if rest == 1:
            return [labels, *(self.labels.fixed(1) for _ in out[1:])]
        if self._is_parted(position, dim):
            # Queries, keys and values of one layer: as many of one as of the others.
            self.labels.unite(table.ravel(), np.tile(table[0], outer))
            return [self.labels.fixed(outer), *self._split(table[0], out[1:], position, dim + 1)]
        if np.all(table == table[:1]) and not np.all(table == table[:1, :1]):
            # the same for every outer index: the outer dimension is a repetition
            return [self.labels.fixed(outer), *self._split(table[0], out[1:], position, dim + 1)]
        first = table[:, 0].copy()  # blocks (heads, groups) stay or go whole
        self.labels.unite(table.ravel(), np.repeat(first, rest))
        return [first, *(self.labels.fixed(n) for n in out[1:])]

    def _is_parted(self, position: int, dim: int) -> bool:
        """Whether the parts of a dimension go different ways: it is selected from, unbound, or split."""
        for op in self._readers[position]:
            rank = len(self.trace.shapes[position])
            if op.name in ("select", "unbind"):
                if (op.args[1] if len(op.args) > 1 else 0) % rank == dim:
                    return True
            elif op.name in ("split", "split_with_sizes", "unsafe_split"):
                if (op.args[2] if len(op.args) > 2 else 0) % rank == dim:
                    return True
            elif op.name in ("permute", "transpose", "unsqueeze", "squeeze", "clone", "movedim"):
                moved = self._moved(op, rank, dim)
                if moved is not None and self._is_parted(op.writes[0], moved):
                    return True
        return False

    def _moved(self, op: Op, rank: int, dim: int) -> int | None:
        """Where a dimension is after an operator that reorders dimensions."""
        order: list[int | None] = list(range(rank))
        if op.name == "permute":
            order = [d % rank for d in op.args[1]]
        elif op.name == "transpose":
            a, b = op.args[1] % rank, op.args[2] % rank
            order[a], order[b] = order[b], order[a]
        elif op.name == "unsqueeze":
            order.insert(op.args[1] % (rank + 1), None)
        elif op.name == "squeeze":
            named = op.args[1] if len(op.args) > 1 else range(rank)
            gone = {d % rank for d in ((named,) if isinstance(named, int) else named)}
            order = [d for d in order if not (d in gone and self.trace.shapes[op.args[0].position][d] == 1)]
        return order.index(dim) if dim in order else None
