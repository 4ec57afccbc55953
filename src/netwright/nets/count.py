"""Exact counts of a candidate, read off the cut and the traced shapes.

The network is traced whole and then a few times with many axes cut at once. What each axis does to the size of every
tensor is read off the differences, so that the counts of any candidate are sums and products of table entries. The
table is checked against traces of whole candidates before it is used; a network whose sizes are not sums of its axes'
effects is traced anew for each candidate, which is slower and as exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import combinations, count
from math import comb
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import torch

from ..core.candidate import Candidate, Option
from ..core.space import Space
from .axes import Axis
from .contradictions import Writes
from .cut import Cut, ModuleIndex
from .stand_ins import Instead, Scaled, StandIn, Zeros, passes_on
from .trace import RESHAPED_IN_PLACE, Op, Trace, Tracer
from .transforms import Stored, says_how_it_is_stored

RANK = 8  # dimensions of a tensor that the table has room for

Effects = dict[tuple[str, ...], dict[tuple[Option, ...], np.ndarray]]
"""An axis and those that it reads, their options, and what these add to the sizes of all tensors."""

CONVOLUTION = frozenset({"convolution"})
PRODUCTS = frozenset({"mm", "bmm", "addmm", "baddbmm", "addbmm", "dot", "mv", "addmv"})
ATTENTION = frozenset(
    {
        "_scaled_dot_product_flash_attention_for_cpu",
        "_scaled_dot_product_flash_attention",
        "_scaled_dot_product_efficient_attention",
        "_scaled_dot_product_fused_attention_overrideable",
    }
)
UNCOUNTED_HEAVY = frozenset(
    {"mkldnn_rnn_layer", "_thnn_fused_lstm_cell", "_thnn_fused_gru_cell", "_fft_c2c", "_fft_r2c", "_fft_c2r"}
    | {"_trilinear", "_cdist_forward", "_euclidean_dist"}
)
"""Operators that compute products but have no rule here: a counter that meets one says so."""
GATHERS = frozenset({"embedding", "index_select", "gather", "index", "take"})
"""Operators that read no more of their first argument than they give."""
OVERWRITES = frozenset({"copy_", "fill_", "zero_"})
"""In-place operators that do not read what they write."""
BATCH_NORMS = frozenset({"native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm"})
"""Operators that give a batch's statistics beside their result, but not in evaluation, where these are empty."""
UNMOVED = frozenset({"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "detach_"})
"""Operators that neither read nor write any element, beside views."""


@dataclass(frozen=True)
class Counts:
    """What a candidate costs, by arithmetic alone.

    Args:
        params: elements of all parameters; tied parameters once.
        macs: multiply-accumulates of convolutions, matrix products and attention on the example inputs.
            Element-wise operators, normalisation and pooling are not counted, as is usual in the field. What a
            transform says that making a stored tensor takes is added.
        weight_bytes: bytes of all parameters in their own precision, or as a transform says that they are stored.
        peak_activation_bytes: the most bytes of inputs, intermediate results and outputs that live at once, when
            operators run in their own order, each result has memory of its own (views and in-place operators
            share), and memory is freed after its last use.
        moved_bytes: bytes that the operators read and write in all, weights included, when nothing is fused or kept
            in a cache: each operator reads all its arguments (of a table that it looks rows up in, as much as it
            finds) and writes all its results. Views move nothing, in-place operators what they read and write, and
            of an expanded tensor only what it is expanded from.
        uncounted: operators that compute products, or may, and are not in ``macs``.
    """

    params: int
    macs: int
    weight_bytes: int
    peak_activation_bytes: int
    moved_bytes: int
    uncounted: tuple[str, ...] = ()


NOTHING_SAID: Mapping[int, Stored] = MappingProxyType({})
"""All tensors are stored as they are."""


class Cuttable(Protocol):
    """What a counter asks of a :class:`netwright.SuperNet`."""

    index: ModuleIndex
    axes: tuple[Axis, ...]
    space: Space
    writes: Writes

    @property
    def tracer(self) -> Tracer: ...

    @property
    def largest(self) -> Candidate: ...

    @property
    def smallest(self) -> Candidate: ...

    def cut(self, candidate: Candidate) -> Cut: ...

    def cut_of(self, options: Mapping[str, Option]) -> Cut: ...


class Counter:
    """Counts candidates of one super-network."""

    def __init__(self, net: Cuttable) -> None:
        self._net = net
        self._tracer = net.tracer
        made = (transform for transforms in net.writes.transforms.values() for transform in transforms)
        self._says_stored = bool(net.index.stored) or any(map(says_how_it_is_stored, made))
        auxiliary = net.cut(net.largest).auxiliary
        self._parameter_bytes = {name: size for name, size in net.index.parameters.items() if name not in auxiliary}
        self.counts = lru_cache(maxsize=65536)(self._counts)

    def _counts(self, candidate: Candidate) -> Counts:
        candidate = self._net.space.candidate(candidate)
        stored = self._net.cut(candidate).stored(self._net.index) if self._says_stored else {}
        with torch.autocast("cpu", enabled=False):  # the caller's would cast what is traced on inputs with data
            table = self._table
            if table is None:
                params, weight_bytes = self._parameters(candidate, stored)
                trace = self._tracer.run(self._net.cut(candidate))
                table, candidate = _SizeTable(trace, {}, {}, {}), Candidate({})
            else:
                params, weight_bytes = table.parameters(candidate, self._net.index, self._parameter_bytes, stored)
        macs, peak, moved, uncounted = table.counts(
            candidate, {table.names[name]: held for name, held in stored.items()}
        )
        return Counts(params, macs, weight_bytes, peak, moved, uncounted)

    def _parameters(self, candidate: Candidate, stored: Mapping[str, Stored]) -> tuple[int, int]:
        cut, index = self._net.cut(candidate), self._net.index
        params = weight_bytes = 0
        for name, size in self._parameter_bytes.items():
            if not all(cut.skips(owner) for owner in index.owners[name]):
                elements = int(np.prod(cut.shape(name, index.shapes[name]), dtype=np.int64))
                params += elements
                weight_bytes += stored[name].bytes if name in stored else elements * size
        return params, weight_bytes

    @cached_property
    def _table(self) -> _SizeTable | None:
        """The table, or None where the network's sizes are not sums of its axes' effects."""
        net = self._net
        whole = self._tracer.run(net.cut(net.largest))
        if any(len(shape) > RANK for shape in whole.shapes):
            return None
        zeros = _zeros(net.writes.stand_ins)
        if zeros is None or any(not whole.runs(path) for path in zeros):
            return None
        skipped_modules = {axis.name: axis.skipped_modules() for axis in net.axes if axis.skipped_modules()}
        if any(path not in whole.around for paths in skipped_modules.values() for path in paths):
            return None
        if any(axis.name in skipped_modules and any(True for _ in axis.regions(net.index)) for axis in net.axes):
            return None
        effects = self._effects(whole, [axis for axis in net.axes if axis.name not in skipped_modules])
        if effects is None:
            return None
        largest = {c.name: c.options[-1] for c in net.space}
        table = _SizeTable(whole, effects, skipped_modules, largest, zeros)
        return table if self._agrees(table, skipped_modules) else None

    def _effects(self, whole: Trace, axes: list[Axis]) -> Effects | None:
        """What every option of every axis adds to the sizes of all tensors; None where operators come or go."""
        effects: Effects = {(axis.name, *axis.depends_on): {} for axis in axes}
        base, plain = self._net.largest, [axis for axis in axes if not axis.depends_on]
        for i in range(max((len(axis.options) for axis in plain), default=1) - 1):
            change = {axis.name: axis.options[i] for axis in plain if i < len(axis.options) - 1}
            # Most sizes are straight lines in the option. Where those do not add up, the options are traced.
            found = {a.name: _between(effects[a.name,], a.options, i) for a in plain if _is_line(a.options, i)}
            if found:
                together = self._added(whole, base, [{name: change[name] for name in found}])
                if together is None:
                    return None
                wrong = together[0] != sum(found.values())
                found = {name: effect for name, effect in found.items() if not effect[wrong].any()}
            traced = self._apart(whole, base, {name: o for name, o in change.items() if name not in found})
            if traced is None:
                return None
            for name, effect in (found | traced).items():
                effects[name,][change[name],] = effect
        return effects if self._readers([axis for axis in axes if axis.depends_on], effects) else None

    def _readers(self, axes: list[Axis], effects: Effects) -> bool:
        """Add what axes that read another one do to what that one's option leaves; False where operators come or go."""
        net = self._net
        if any(len(axis.depends_on) > 1 for axis in axes):
            return False
        read = {axis.depends_on[0]: net.space[axis.depends_on[0]].options for axis in axes}
        for j in range(max(map(len, read.values()), default=0)):
            base = {**net.largest, **{name: options[min(j, len(options) - 1)] for name, options in read.items()}}
            bottom = self._tracer.run(net.cut_of(base))
            for i in range(max(len(axis.options) for axis in axes) - 1):
                change = {axis.name: axis.options[i] for axis in axes if i < len(axis.options) - 1}
                traced = self._apart(bottom, base, change)
                if traced is None:
                    return False
                for axis in axes:
                    if axis.name in change:
                        pair = (change[axis.name], base[axis.depends_on[0]])
                        effects[axis.name, *axis.depends_on][pair] = traced[axis.name]
        return True

    def _apart(
        self, bottom: Trace, base: Mapping[str, Option], change: Mapping[str, Option]
    ) -> dict[str, np.ndarray] | None:
        """What each of some axes, at one option, adds to all sizes; None where operators come or go.

        Each axis is cut in half of a few traces, no two in the same ones: which traces a size changes in says whose
        it is. Where a size is of several axes, each is traced alone.

        Args:
            bottom, base: the trace that changes are counted from, and its options.
            change: axis to the option that it takes.
        """
        if not change:
            return {}
        traces = next(n for n in count(1) if comb(n, (n + 1) // 2) >= len(change))
        sets = dict(zip(change, combinations(range(traces), (traces + 1) // 2), strict=False))
        groups = [[name for name in change if t in sets[name]] for t in range(traces)]
        added = self._added(bottom, base, [{name: change[name] for name in group} for group in groups])
        if added is None:
            return None
        found = {}
        for name, members in sets.items():
            inside = np.isin(np.arange(traces), members)[:, None, None]
            own = (added == np.where(inside, added[members[0]], 0)).all(axis=0)
            found[name] = np.where(own, added[members[0]], 0)
        if all((sum(found[name] for name in groups[t]) == added[t]).all() for t in range(traces)):
            return found
        alone = self._added(bottom, base, [{name: option} for name, option in change.items()])
        return None if alone is None else dict(zip(change, alone, strict=True))

    def _added(self, bottom: Trace, base: Mapping[str, Option], changes: list[dict[str, Option]]) -> np.ndarray | None:
        """What each set of options adds to all sizes, shape (sets, tensors, RANK)."""
        sizes, signature = _padded(bottom.shapes), bottom.signature()
        added = np.zeros((len(changes), *sizes.shape), dtype=np.int64)
        for i, change in enumerate(changes):
            trace = self._tracer.run(self._net.cut_of({**base, **change}))
            if trace.signature() != signature:
                return None
            added[i] = _padded(trace.shapes) - sizes
        return added

    def _agrees(self, table: _SizeTable, skipped_modules: Mapping[str, object]) -> bool:
        """Whether the table counts as a trace does: every option of every axis is met once, then mixtures."""
        net, rng = self._net, np.random.default_rng(0)
        most = max((len(axis.options) for axis in net.axes), default=1)
        each = [_every(net.space, skipped_modules, i) for i in range(most - 1)]
        for candidate in (net.smallest, *each, *(net.space.sample(rng) for _ in range(3))):
            direct = _SizeTable(self._tracer.run(net.cut(candidate)), {}, {}, {}).counts(Candidate({}))
            if table.counts(candidate) != direct:
                return False
        return True


def _zeros(stand_ins: Mapping[str, frozenset[StandIn]]) -> frozenset[str] | None:
    """The modules that give zeros like their first argument when they are left out; None where something else runs that
    the trace of the whole network does not tell of."""
    zeros = set()
    for path, others in stand_ins.items():
        given = {other.passthrough if isinstance(other, Instead) else Scaled(1) for other in others}
        first = {what[0] if isinstance(what, tuple) and set(what[1:]) <= {None} else what for what in given}
        if first == {Zeros()}:
            zeros.add(path)
        elif not all(map(passes_on, given)):
            return None
    return frozenset(zeros)


def _with_zeros(trace: Trace, zeros: frozenset[str]) -> tuple[Trace, dict[int, str]]:
    """A trace with one operator more behind each of some modules, which makes zeros, and where these are."""
    ops: list[Op] = []
    made: dict[int, str] = {}
    ends: dict[int, list[str]] = {}
    for path in sorted(zeros, reverse=True):  # the inner before the outer
        ends.setdefault(max(i for i, op in enumerate(trace.ops) if _inside(op.module, (path,))), []).append(path)
    for i, op in enumerate(trace.ops):
        ops.append(op)
        for path in ends.get(i, ()):
            into, out = trace.around[path]
            made[len(ops)] = path
            ops.append(Op("zeros_like", path, (into,), (out,)))
    return replace(trace, ops=ops), made


def _every(space: Space, whole: Mapping[str, object], i: int) -> Candidate:
    """The candidate with the ``i``-th option of every choice but those named in ``whole``, which take the last."""
    return space.build(lambda c: c.options[-1 if c.name in whole else min(i, len(c.options) - 1)])


class _SizeTable:
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
        trace, self._made_zeros = _with_zeros(trace, zeros) if zeros else (trace, {})
        self._trace, self._effects, self._skipped_modules, self._whole = trace, effects, skipped_modules, whole
        self._full = _padded(trace.shapes)
        # How many products one with a sparse or nested tensor is, its entries say, not its sizes.
        sparse = {i for i, op in enumerate(trace.ops) if _multiplies(op) and trace.sparse.intersection(op.reads)}
        dense = [(i, op) for i, op in enumerate(trace.ops) if i not in sparse]
        self._terms = [(i, term) for i, op in dense for term in _macs_terms(op, trace.shapes)]
        moved = [(i, tensor) for i, op in enumerate(trace.ops) for tensor in _moved(op, trace.buffers)]
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
            if not skipped or not all(_inside(owner, skipped) for owner in index.owners[name]):
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
        runs = [not _inside(op.module, skipped) for op in self._trace.ops]
        for i, path in self._made_zeros.items():
            runs[i] = path in skipped and not _inside(path.rpartition(".")[0], skipped)
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


def _multiplies(op: Op) -> bool:
    return op.name in PRODUCTS or any(word in op.name for word in ("_sparse", "linear", "matmul", "attention"))


def _macs_terms(op: Op, shapes: list[tuple[int, ...]]) -> list[list[tuple[int, int]]]:
    """The operator's multiply-accumulates: sums of products of sizes, each named by tensor and dimension."""

    def all_of(tensor: int) -> list[tuple[int, int]]:
        return [(tensor, d) for d in range(len(shapes[tensor]))]

    if op.name in CONVOLUTION:
        data, weight = op.reads[0], op.reads[1]
        positions = data if op.args[6] else op.writes[0]  # argument 6: transposed
        return [all_of(positions) + [(weight, d) for d in range(1, len(shapes[weight]))]]
    if op.name in PRODUCTS:
        left = op.reads[-2]  # addmm and its kin read the addend first
        if op.name == "dot":
            return [all_of(left)]
        return [[*all_of(op.writes[0]), (left, len(shapes[left]) - 1)]]
    if op.name in ATTENTION:
        query, key, value = op.reads[:3]
        scores = [(query, d) for d in range(len(shapes[query]) - 1)] + [(key, len(shapes[key]) - 2)]
        return [[*scores, (query, len(shapes[query]) - 1)], [*scores, (value, len(shapes[value]) - 1)]]
    return []


def _moved(op: Op, buffers: list[int]) -> tuple[int, ...]:
    """The tensors that the operator reads and writes, each as often as it does."""
    if op.name in UNMOVED or op.name in RESHAPED_IN_PLACE:
        return ()
    shared = {buffers[tensor] for tensor in op.reads}
    if not op.name.endswith("_") and "out" not in op.kwargs and all(buffers[tensor] in shared for tensor in op.writes):
        return () if op.writes else op.reads  # a view; without results, something is only read
    if op.name in GATHERS:
        return (*op.writes, *op.reads[1:], *op.writes)
    if op.name in BATCH_NORMS:
        return (*op.reads, op.writes[0])
    return (*op.reads[op.name in OVERWRITES :], *op.writes)


def _padded(shapes: list[tuple[int, ...]]) -> np.ndarray:
    sizes = np.ones((len(shapes), RANK), dtype=np.int64)
    for row, shape in zip(sizes, shapes, strict=True):
        row[: len(shape)] = shape[:RANK]
    return sizes


def _is_line(options: tuple[Option, ...], i: int) -> bool:
    """Whether the ``i``-th option is a number between the first and the last."""
    return 0 < i < len(options) - 1 and all(isinstance(o, int) and not isinstance(o, bool) for o in options)


def _between(effects: Mapping[tuple[Option, ...], np.ndarray], options: tuple[Any, ...], i: int) -> np.ndarray:
    """What the ``i``-th option adds, if that is a straight line from what the first adds to nothing."""
    return effects[options[0],] * (options[-1] - options[i]) // (options[-1] - options[0])


@lru_cache(maxsize=65536)
def _inside(path: str, around: tuple[str, ...]) -> bool:
    return any(path == a or path.startswith(a + ".") for a in around)
