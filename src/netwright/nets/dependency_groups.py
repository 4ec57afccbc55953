"""Dependency groups: which indices of which tensors must stay or go together.

Every index of every dimension carries a label. Operators pass labels on, and unite them where indices meet: an
addition unites the channels of its operands, a convolution its input's channels with its kernel's, a concatenation
lays labels side by side, a reshape repeats or gathers them. What reaches a place that cannot shrink (a batch, an
image's rows, an operator that is not known) is rigid, and the operator that made it so is remembered. In the end, the
indices of the weights that share a label are one channel of the network.

The propagators may be incomplete without doing harm: :mod:`netwright.nets.verification` accepts a group only after it
has permuted it in the weights and found the network's output unchanged, and has run the network with it cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .propagation import FIXES, PROPAGATORS, REASONS, Rows, plain
from .propagation.labels import TensorLabels
from .propagation.probe import Call, Passed, Place, call_of, probe
from .trace import Op, Trace


class DependencyGroups(TensorLabels):
    """Labels of all tensors of a trace, as all of its operators pass them on.

    Args:
        trace: the trace of the whole network.

    Attributes:
        ops: the operators that the outputs depend on.
        beyond: whether they leave a part of a tensor out.
    """

    def __init__(self, trace: Trace) -> None:
        super().__init__(trace)
        self._tried: dict[Any, Passed] = {}
        self._reasons: dict[tuple[int, str], int] = {}  # by the number of an operator, counted from 1, and the reason
        self.unsaid: set[int] = set()  # results that no propagator covers: they are taken for rigid, whatever they are
        followed, live = trace.live(beside=True), trace.live()
        self.labels.now = len(trace.ops) + 3
        for buffer in trace.inputs:
            self.read(trace.owners[buffer])
        for self.labels.now, op in enumerate(trace.ops, start=1):
            if self.labels.now - 1 in followed:  # of others, only shapes were read
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

    def _follow(self, op: Op) -> None:
        propagator = PROPAGATORS.get(plain(op))
        result = propagator(self, op) if propagator else None
        if result is None:
            self._try(op)
            return
        self.write(op.writes[0], result)
        for extra in op.writes[1:]:  # what a propagator has not written
            if extra not in self.known:
                self.known[extra] = [self.labels.fixed(n) for n in self.trace.shapes[extra]]
                self.unsaid.add(extra)

    def _try(self, op: Op) -> None:
        """What an operator without a propagator passes on is found by running it; what else it reads is rigid."""
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
        by place (positions up to the example's length), and nothing that is not read can be verified. Whether there
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
