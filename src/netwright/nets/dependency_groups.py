"""Dependency groups: which indices of which tensors must stay or go together.

Every index of every dimension carries a label. Operators pass labels on, and unite them where indices meet: an
addition unites the channels of its operands, a convolution its input's channels with its kernel's, a concatenation
lays labels side by side, a reshape repeats or gathers them. What reaches a place that cannot shrink (a batch, an
image's rows, an operator that is not known) is rigid, and the operator that made it so is remembered. In the end, the
indices of the weights that share a label are one channel of the network.

The rules may be incomplete without doing harm: :mod:`netwright.nets.wrap` believes a group only after it has permuted
it in the weights and found the network's output unchanged, and has run the network with it cut.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

import numpy as np

from .propagation import FIXES, PROPAGATORS, REASONS, Rows, plain
from .propagation.probe import Call, Passed, Place, call_of, probe
from .trace import Op, Ref, Trace
from .union_find import UnionFind


class DependencyGroups:
    """Labels of all tensors of a trace.

    Args:
        trace: of the whole network.

    Attributes:
        ops: the operators that the outputs depend on.
        known: labels of the tensors that these read and write, by position.
        beyond: whether they leave a part of a tensor out.
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.labels = UnionFind()
        self.known: dict[int, Rows] = {}
        self._tried: dict[Any, Passed] = {}
        self._reasons: dict[tuple[int, str], int] = {}  # by the number of an operator, counted from 1, and the reason
        self.unsaid: set[int] = set()  # results that no rule speaks of: they are taken for rigid, whatever they are
        self._readers: dict[int, list[Op]] = defaultdict(list)
        for op in trace.ops:
            for position in dict.fromkeys(op.reads):
                self._readers[position].append(op)
        followed, live = trace.live(beside=True), trace.live()
        self.labels.now = len(trace.ops) + 3
        for buffer in trace.inputs:
            self.read(trace.owners[buffer])
        for self.labels.now, op in enumerate(trace.ops, start=1):
            if self.labels.now - 1 in followed:  # of others, only shapes were looked at
                self._follow(op)
        self.labels.now = len(trace.ops) + 1
        for position, buffer in enumerate(trace.buffers):
            if buffer in trace.outputs and position in self.known:
                self.labels.rigid(*self.known[position])
        self.labels.now += 1
        self.ops = [trace.ops[at] for at in sorted(live)]
        self.beyond = self._keep_unread()

    def of(self, position: int) -> Rows:
        """The labels of a tensor, resolved: equal labels stay or go together; 0 stays."""
        return [self.labels.resolved(labels) for labels in self.read(position)]

    def why(self, position: int, dim: int) -> str | None:
        """Why a dimension of a tensor, or some of its indices, cannot shrink; None where it can."""
        causes = self.labels.causes(self.read(position)[dim])
        causes = causes[causes > 0]
        if not len(causes):
            return None
        cause = int(causes[0])
        if cause == len(self.trace.ops) + 1:
            return "its channels are an output of the network"
        if cause == len(self.trace.ops) + 2 and not any(position in op.reads for op in self.ops):
            return "nothing that the network gives depends on it"
        if cause == len(self.trace.ops) + 2 and len(causes) == 1:
            return "there is one of it"
        if cause == len(self.trace.ops) + 2:
            return "the example inputs do not reach all of its indices: they count positions or rows, not channels"
        if cause == len(self.trace.ops) + 3:
            return "its channels are an input of the network"
        given = {number: key for key, number in self._reasons.items()}
        cause, reason = given.get(cause, (cause, None))
        op = self.trace.ops[cause - 1]
        place = f" in {op.module}" if op.module else ""
        return f"its channels meet the operator {op.name}{place}, {reason or REASONS.get(plain(op), FIXES)}"

    def is_used(self, position: int) -> bool:
        """Whether an operator reads a tensor, or the network gives it."""
        return position in self._readers or self.trace.buffers[position] in self.trace.outputs

    # -- labels ------------------------------------------------------------------------------------------------

    def read(self, position: int) -> Rows:
        """A tensor's labels; weights get labels of their own when first seen, other new tensors are rigid."""
        known = self.known.get(position)
        if known is None:
            fresh = self.trace.buffers[position] in self.trace.weights
            known = [self.labels.new(n) if fresh else self.labels.fixed(n) for n in self.trace.shapes[position]]
            self.known[position] = known
        return known

    # -- operators ---------------------------------------------------------------------------------------------

    def _follow(self, op: Op) -> None:
        rule = PROPAGATORS.get(plain(op))
        result = rule(self, op) if rule else None
        if result is None:
            self._try(op)
            return
        self.write(op.writes[0], result)
        for extra in op.writes[1:]:  # what a rule has not written
            if extra not in self.known:
                self.known[extra] = [self.labels.fixed(n) for n in self.trace.shapes[extra]]
                self.unsaid.add(extra)

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

    def _try(self, op: Op) -> None:
        """What an operator without a rule passes on is found by running it; the rest of what it reads cannot shrink."""
        call, reads, writes = call_of(op, self.trace, self.is_used)
        rows = [self.read(position) for position in reads]
        # Numbers on which nothing depends that could shrink: whatever is rigid is so for the reason that it was.
        causes = [self.labels.causes(x) for row in rows for x in row if len(x)]
        wanted = tuple((i, d) for i, row in enumerate(rows) for d, x in enumerate(row) if self._may_shrink(x))
        if not wanted:
            was, self.labels.now = self.labels.now, int(causes[0][0]) if causes else self.labels.now
            for position in writes:
                self.known.setdefault(position, [self.labels.fixed(n) for n in self.trace.shapes[position]])
            self.labels.now = was
            return
        passed = self._probed(call, wanted)
        channels = self.labels.new(passed.channels + 1)
        for i, row in enumerate(rows):
            for d, x in enumerate(row):
                found = passed.arguments.get((i, d), np.zeros(len(x), dtype=np.int64))
                with self._because(passed.why.get((i, d))):
                    self.labels.rigid(x[found == 0])
                self.labels.unite(x[found > 0], channels[found[found > 0]])
        with self._because(next(iter(passed.why.values()), None)):
            for i, position in enumerate(writes):
                made = [self.labels.fixed(n) for n in self.trace.shapes[position]]
                for d, x in enumerate(made):
                    if (i, d) in passed.results:
                        found = passed.results[i, d]
                        made[d] = np.where(found > 0, channels[found], x)
                self.write(position, made)

    def _may_shrink(self, labels: np.ndarray) -> bool:
        return len(labels) > 1 and not self.labels.causes(labels).all()

    def _probed(self, call: Call, wanted: tuple[Place, ...]) -> Passed:
        """See :func:`probe`; what was found for the same call before."""
        key = call.key(), wanted
        if key not in self._tried:
            self._tried[key] = probe(call, wanted)
        return self._tried[key]

    @contextmanager
    def _because(self, reason: str | None) -> Iterator[None]:
        """What becomes rigid in the block does for a reason of its own; that of the operator, if None."""
        was = self.labels.now
        if reason is not None:
            self.labels.now = self._reasons.setdefault((was, reason), len(self.trace.ops) + 4 + len(self._reasons))
        try:
            yield
        finally:
            self.labels.now = was

    def _keep_unread(self) -> bool:
        """Where an index meets no operator, its whole dimension cannot shrink: what the network takes of it is decided
        by place (positions up to the example's length), and nothing that is not read can be proved. Whether there
        are such."""
        for position in (*self.trace.names.values(), *(p for op in self.ops for p in op.reads)):
            self.read(position)
        read = self.labels.none()
        for op in self.ops:
            rows = [row for position in op.reads for row in self.read(position)]
            if not self._is_view(op):  # which hands all on that it does not cut off, and reads nothing
                passed = self.labels.none()
                for position in op.writes:
                    for row in self.known[position]:
                        passed[self.labels.find(row)] = True
                for row in rows:
                    found = self.labels.find(row)
                    read[found[~passed[found]]] = True
        rows = [row for rows in self.known.values() for row in rows]
        unread = [row for row in rows if not np.all(read[self.labels.find(row)] | (self.labels.causes(row) > 0))]
        self.labels.rigid(*unread)
        return bool(unread)

    def _is_view(self, op: Op) -> bool:
        """Whether an operator gives a part of what it is given, in another arrangement, and computes nothing."""
        buffers = self.trace.buffers
        return bool(op.writes) and {buffers[p] for p in op.writes} == {buffers[p] for p in op.reads}

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
            labels: of the dimension.
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
