"""Exact counts of a candidate, read off the cut and the traced shapes.

The network is traced whole and then a few times with many axes cut at once. What each axis does to the size of every
tensor is read off the differences, so that the counts of any candidate are sums and products of table entries. The
table is checked against traces of whole candidates before it is used; a network whose sizes are not sums of its axes'
effects is traced anew for each candidate, which is slower and as exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch

from ...core.candidate import Candidate
from ...core.space import Space
from ..transforms import Stored, says_how_it_is_stored
from .effects import Cuttable, EffectsReader
from .running import zeros_of
from .table import RANK, SizeTable


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
                table, candidate = SizeTable(trace, {}, {}, {}), Candidate({})
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
    def _table(self) -> SizeTable | None:
        """The table, or None where the network's sizes are not sums of its axes' effects."""
        net = self._net
        whole = self._tracer.run(net.cut(net.largest))
        if any(len(shape) > RANK for shape in whole.shapes):
            return None
        zeros = zeros_of(net.writes.stand_ins)
        if zeros is None or any(not whole.runs(path) for path in zeros):
            return None
        skipped_modules = {axis.name: axis.skipped_modules() for axis in net.axes if axis.skipped_modules()}
        if any(path not in whole.around for paths in skipped_modules.values() for path in paths):
            return None
        if any(axis.name in skipped_modules and any(True for _ in axis.regions(net.index)) for axis in net.axes):
            return None
        effects = EffectsReader(net).effects(whole, [axis for axis in net.axes if axis.name not in skipped_modules])
        if effects is None:
            return None
        largest = {c.name: c.options[-1] for c in net.space}
        table = SizeTable(whole, effects, skipped_modules, largest, zeros)
        return table if self._agrees(table, skipped_modules) else None

    def _agrees(self, table: SizeTable, skipped_modules: Mapping[str, object]) -> bool:
        """Whether the table counts as a trace does: every option of every axis is met once, then mixtures."""
        net, rng = self._net, np.random.default_rng(0)
        most = max((len(axis.options) for axis in net.axes), default=1)
        each = [_every(net.space, skipped_modules, i) for i in range(most - 1)]
        for candidate in (net.smallest, *each, *(net.space.sample(rng) for _ in range(3))):
            direct = SizeTable(self._tracer.run(net.cut(candidate)), {}, {}, {}).counts(Candidate({}))
            if table.counts(candidate) != direct:
                return False
        return True


def _every(space: Space, whole: Mapping[str, object], i: int) -> Candidate:
    """The candidate with the ``i``-th option of every choice but those named in ``whole``, which take the last."""
    return space.build(lambda c: c.options[-1 if c.name in whole else min(i, len(c.options) - 1)])
