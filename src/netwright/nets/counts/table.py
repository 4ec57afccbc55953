"""Sizes of all tensors of a trace as sums of what axes add, and the counts that follow."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from ...core.candidate import Candidate, Option
from ..cut import ModuleIndex
from ..trace import Trace
from ..transforms import Stored
from .operators import UNCOUNTED_HEAVY, macs_terms, moved_tensors, multiplies
from .running import inside, with_zeros

RANK = 8  # dimensions of a tensor that the table has room for

Effects = dict[tuple[str, ...], dict[tuple[Option, ...], np.ndarray]]
"""An axis and those that it reads, their options, and what these add to the sizes of all tensors."""

NOTHING_SAID: Mapping[int, Stored] = MappingProxyType({})
"""All tensors are stored as they are."""


class SizeTable:
    """Sizes of all tensors of a trace as sums of the axes' effects, and the counts that follow."""

    def __init__(
        self,
        trace: Trace,
        effects: Effects,
        skipped_modules: Mapping[str, Mapping[str, tuple[Option, ...]]],
        whole: Mapping[str, Option],
        zeros: frozenset[str] = frozenset(),
    ) -> None:
        self.names, self._zeros = trace.names, zeros
        trace, self._made_zeros = with_zeros(trace, zeros) if zeros else (trace, {})
        self._trace, self._effects, self._skipped_modules, self._whole = trace, effects, skipped_modules, whole
        self._full = padded(trace.shapes)
        # How many products one with a sparse or nested tensor is, its entries say, not its sizes.
        sparse = {i for i, op in enumerate(trace.ops) if multiplies(op) and trace.sparse.intersection(op.reads)}
        dense = [(i, op) for i, op in enumerate(trace.ops) if i not in sparse]
        self._terms = [(i, term) for i, op in dense for term in macs_terms(op, trace.shapes)]
        moved = [(i, tensor) for i, op in enumerate(trace.ops) for tensor in moved_tensors(op, trace.buffers)]
        self._movers, self._moved = np.array(moved, dtype=np.int64).reshape(-1, 2).T
        self._buffers, self._owners = np.array(trace.buffers, dtype=np.int64), np.array(trace.owners, dtype=np.int64)
        self._itemsize = np.array(trace.itemsize, dtype=np.int64)[self._buffers]
        # What the operators of another library compute, nobody knows.
        unknown = {op.name for op in trace.ops if op.name in UNCOUNTED_HEAVY or "." in op.name}
        self._uncounted = tuple(sorted(unknown | {f"{trace.ops[i].name} of a sparse or nested tensor" for i in sparse}))

    def parameters(
        self, candidate: Candidate, index: ModuleIndex, sizes: Mapping[str, int], stored: Mapping[str, Stored]
    ) -> tuple[int, int]:
        """Elements and bytes of the parameters, of which ``sizes`` has the bytes of an element."""
        elements = self._sizes(candidate).prod(axis=1).tolist()
        skipped = self._skipped(candidate)
        params = weight_bytes = 0
        for name, size in sizes.items():
            if not skipped or not all(inside(owner, skipped) for owner in index.owners[name]):
                count = elements[self._trace.names[name]]
                params += count
                weight_bytes += count * size
        for name in sizes.keys() & stored:
            weight_bytes += stored[name].bytes - elements[self.names[name]] * sizes[name]
        return params, weight_bytes

    def _sizes(self, candidate: Candidate) -> np.ndarray:
        sizes = self._full
        for names, effects in self._effects.items():
            options = tuple(candidate.get(name, self._whole[name]) for name in names)
            if options[0] != self._whole[names[0]]:
                sizes = sizes + effects[options]
        return sizes

    def _skipped(self, candidate: Candidate) -> tuple[str, ...]:
        return tuple(
            path
            for name, paths in self._skipped_modules.items()
            for path, runs in paths.items()
            if candidate.get(name, self._whole[name]) not in runs
        )

    def counts(
        self, candidate: Candidate, stored: Mapping[int, Stored] = NOTHING_SAID
    ) -> tuple[int, int, int, tuple[str, ...]]:
        """Multiply-accumulates, peak activation bytes, moved bytes, and what was not counted."""
        sizes, skipped = self._sizes(candidate), self._skipped(candidate)
        runs = [not inside(op.module, skipped) for op in self._trace.ops]
        for i, path in self._made_zeros.items():
            runs[i] = path in skipped and not inside(path.rpartition(".")[0], skipped)
        rows = sizes.tolist()
        macs = sum(held.macs for held in stored.values())
        for op, term in self._terms:
            if runs[op]:
                product = 1
                for tensor, dim in term:
                    product *= rows[tensor][dim]
                macs += product
        elements, storage = sizes.prod(axis=1), self._storage(skipped)
        moved = self._moved_bytes(elements, storage, runs, stored)
        return macs, self._peak(elements.tolist(), storage, runs), moved, self._uncounted

    def _storage(self, skipped: tuple[str, ...]) -> list[int]:
        """The storage that each one's content is in: the result of a skipped module is its argument, or zeros."""
        buffers = self._trace.buffers
        passing = (path for path in skipped if path not in self._zeros) if self._zeros else skipped
        same = {buffers[out]: buffers[into] for into, out in map(self._trace.around.__getitem__, passing)}
        storage = list(range(len(self._trace.owners)))
        for buffer in same:
            into = buffer
            while into in same and same[into] != into:
                into = same[into]
            storage[buffer] = into
        return storage

    def _moved_bytes(
        self, elements: np.ndarray, storage: list[int], runs: list[bool], stored: Mapping[int, Stored]
    ) -> int:
        most = elements[self._owners[storage][self._buffers]]
        sizes = np.minimum(elements, most) * self._itemsize
        for position, held in stored.items():  # of a tensor and its views, each its share
            own = self._buffers == self._trace.buffers[position]
            sizes[own] = -(-np.minimum(elements, most)[own] * held.bytes // max(int(elements[position]), 1))
        return int(sizes[self._moved][np.array(runs, dtype=bool)[self._movers]].sum())

    def _peak(self, elements: list[int], storage: list[int], runs: list[bool]) -> int:
        trace = self._trace
        first: dict[int, int] = {storage[b]: -1 for b in trace.inputs}
        last: dict[int, int] = {storage[b]: -1 for b in trace.inputs}
        steps = 0
        for op, running in zip(trace.ops, runs, strict=True):
            if not running:
                continue
            for tensor in (*op.reads, *op.writes):
                buffer = storage[trace.buffers[tensor]]
                if buffer not in trace.weights:
                    first.setdefault(buffer, steps)
                    last[buffer] = steps
            steps += 1
        for buffer in trace.outputs:
            if storage[buffer] in first:
                last[storage[buffer]] = steps
        change = [0] * (steps + 2)
        for buffer, begin in first.items():
            size = elements[trace.owners[buffer]] * trace.itemsize[buffer]
            change[max(begin, 0)] += size
            change[last[buffer] + 1 if last[buffer] >= 0 else 1] -= size
        peak = live = 0
        for step in change:
            live += step
            peak = max(peak, live)
        return peak


def padded(shapes: list[tuple[int, ...]]) -> np.ndarray:
    sizes = np.ones((len(shapes), RANK), dtype=np.int64)
    for row, shape in zip(sizes, shapes, strict=True):
        row[: len(shape)] = shape[:RANK]
    return sizes
