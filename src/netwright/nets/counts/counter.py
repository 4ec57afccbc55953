"""Exact counts of candidates, read off the cut and the traced shapes.

The network is traced whole and then a few times with many axes cut at once. What each axis does to the size of every
tensor is read off the differences, so that the counts of any candidates are sums and products of table entries. The
table is checked against traces of whole candidates before it is used; a network whose sizes are not sums of its axes'
effects is traced anew for each candidate, which is slower and as exact.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from functools import cached_property, lru_cache

import numpy as np
import torch

from ...core.candidate import Candidate
from ...core.encoding import Candidates, Encoding
from ...core.space import Space
from ..axes import Axis, OneOf
from ..cut import ModuleIndex
from ..foldable import is_folded
from .bits import LayerBits
from .copies import as_modules
from .effects import Cuttable, EffectsReader
from .instead import Untabulated, given_instead
from .result import LARGEST, NAMES, Counts, ManyCounts, check_bound
from .sizes import RANK
from .stored import StoredMany, StoredTensors
from .table import SizeTable

AT_ONCE = 1024
"""Candidates that are counted together, which bounds the memory."""


class Counter:
    """Counts candidates of one super-network."""

    def __init__(self, net: Cuttable) -> None:
        self._net = net
        self._tracer = net.tracer
        self._encoding, self._stored, self._bits = Encoding(net.space), StoredTensors(net), LayerBits(net)
        self._auxiliary = net.cut(net.largest).auxiliary
        self._traced = lru_cache(maxsize=65536)(self._trace)

    def counts(self, candidates: Sequence[Mapping[str, object]]) -> ManyCounts:
        """Those of candidates."""
        rows = self._encoding.of(candidates)
        with torch.autocast("cpu", enabled=False):  # the caller's would cast what is traced on inputs with data
            table = self._table
            if table is None:
                return ManyCounts.of([self._traced(c) for c in Candidates(self._encoding, rows)])
        return self._tabulated(table, rows)

    @property
    def is_fast(self) -> bool:
        """Whether counts are read from a table; otherwise a candidate is traced for each."""
        with torch.autocast("cpu", enabled=False):
            return self._table is not None

    def _tabulated(self, table: SizeTable, rows: np.ndarray) -> ManyCounts:
        starts = range(0, max(len(rows), 1), AT_ONCE)
        parts = [
            table.count(part, self._stored(part), self._bits(part))
            for part in (rows[at : at + AT_ONCE] for at in starts)
        ]
        arrays = {name: np.concatenate([part[name] for part in parts]) for name in NAMES}
        return ManyCounts(**arrays, uncounted=tuple(table.uncounted(rows)))

    def _parameter_bytes(self, index: ModuleIndex) -> dict[str, int]:
        """The parameters of networks, and the bytes of an element."""
        return {name: size for name, size in index.parameters.items() if name not in self._auxiliary}

    def _place(self, path: str) -> str:
        """A module; of what a module is folded to, where that stands."""
        return next((fold for fold in self._tracer.folds if is_folded(path, [fold])), path)

    def _trace(self, candidate: Candidate) -> Counts:
        """The counts of a candidate without the table."""
        cut, index = self._net.cut(candidate), self._net.index
        stored = cut.stored(index) if self._stored.names else {}
        stored = {name: held for name, held in stored.items() if name in self._stored.names}
        trace = self._tracer.run(cut)
        params = weight_bytes = 0
        made = trace.folded or index
        for name, size in self._parameter_bytes(made).items():
            if not all(cut.skips(self._place(owner)) for owner in made.owners[name]):
                shape = trace.folded.shapes[name] if trace.folded else cut.shape(name, index.shapes[name])
                elements = int(np.prod(shape, dtype=np.int64))
                params += elements
                weight_bytes += stored[name].bytes if name in stored else elements * size
        table = SizeTable(trace, rounded=self._bits.layers)
        table.count_parameters({}, index.owners, [name for name in stored if name in trace.names])
        check_bound(table.most())
        alone = np.zeros((1, 0), dtype=np.int64)
        found = table.count(
            alone,
            {
                name: StoredMany(np.array([True]), np.array([held.bytes]), np.array([held.macs]))
                for name, held in stored.items()
            },
            self._bits(self._encoding.of([candidate])),
        )
        numbers = {name: int(values[0]) for name, values in found.items()}
        return Counts(**numbers | {"params": params, "weight_bytes": weight_bytes}, uncounted=table.uncounted(alone)[0])

    @cached_property
    def _table(self) -> SizeTable | None:
        """The table, or None where the network's sizes are not sums of its axes' effects."""
        with suppress(Untabulated):
            return self._tabulate()
        return None

    def _tabulate(self) -> SizeTable | None:
        net, reader = self._net, EffectsReader(self._net)
        whole = reader.whole
        if any(len(shape) > RANK for shape in whole.shapes):
            return None
        skipped_modules = {axis.name: net.skipped_modules(axis) for axis in net.axes if axis.skipped_modules()}
        options = {place for call in whole.menus for path in call.options for place in net.index.twins(path)}
        left_out = {axis for axis, paths in skipped_modules.items() if not options.issuperset(paths)}
        skipped = dict.fromkeys(path for paths in skipped_modules.values() for path in paths if path not in options)
        if any(is_folded(path, self._tracer.folds) for path in (*skipped, *options)):
            return None
        instead = given_instead(whole, net.writes.stand_ins, skipped)
        if any(axis.name in left_out and any(True for _ in axis.regions(net.index)) for axis in net.axes):
            return None
        effects = reader.effects([axis for axis in net.axes if axis.name not in left_out and _changes_sizes(axis)])
        if effects is None:
            return None
        whole, copying, copied = as_modules(whole, reader.absent, net.space.choices)
        running = {name: {**skipped_modules.get(name, {}), **own} for name, own in copying.items()}
        table = SizeTable(
            whole, net.space.choices, effects, {**skipped_modules, **running}, {**instead, **copied}, self._bits.layers
        )
        index = whole.folded or net.index
        table.count_parameters(self._parameter_bytes(index), index.owners, self._stored.names)
        return table if table.most() <= LARGEST and self._agrees(table, left_out, skipped_modules) else None

    def _agrees(self, table: SizeTable, *whole: Collection[str]) -> bool:
        """Whether the table counts as a trace does: every option of every axis is met once, then mixtures.

        Args:
            table: the table.
            whole: choices that are whole meanwhile; several times others, if they are.
        """
        net, rng = self._net, np.random.default_rng(0)
        most = max((len(axis.options) for axis in net.axes), default=1)
        each = [_every(net.space, names, i) for names in whole for i in range(most - 1)]
        some = dict.fromkeys([net.smallest, *each, *(net.space.sample(rng) for _ in range(3))])
        found = self._tabulated(table, self._encoding.of([*some]))
        return all(found[i] == self._traced(candidate) for i, candidate in enumerate(some))


def _every(space: Space, whole: Collection[str], i: int) -> Candidate:
    """The candidate with the ``i``-th option of every choice but those named in ``whole``, which take the last."""
    return space.build(lambda c: c.options[-1 if c.name in whole else min(i, len(c.options) - 1)])


def _changes_sizes(axis: Axis) -> bool:
    """Whether an axis does more than to choose of menus."""
    return not all(isinstance(part, OneOf) for part in axis.members())
