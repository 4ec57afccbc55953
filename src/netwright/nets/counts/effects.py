"""What every option of every axis adds to the sizes of all tensors, read off as few traces as can be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations, count
from math import comb
from typing import Protocol

import numpy as np

from ...core.candidate import Candidate, Option
from ...core.space import Space
from ..axes import Axis
from ..contradictions import Writes
from ..cut import Cut, ModuleIndex
from ..trace import Trace, Tracer
from .copies import aligned
from .instead import arounds
from .sizes import Effects, padded


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

    def skipped_modules(self, axis: Axis) -> Mapping[str, tuple[Option, ...]]: ...


class EffectsReader:
    """Reads the effects of a super-network's axes off differences between traces.

    In these all options of menus run, and all that may run before or after modules.

    Attributes:
        whole: the trace of the whole network.
        absent: copies that the whole network makes and some options do without, once :meth:`effects` was asked for.
    """

    def __init__(self, net: Cuttable) -> None:
        self._net = net
        self._fixed, self._arounds = net.cut_of({}).choose, arounds(net.writes.stand_ins)
        plain = not self._fixed and not self._arounds
        self.whole = net.tracer.whole if plain else self._trace(net.largest)
        self.absent: dict[int, dict[str, set[Option]]] = {}

    def _trace(self, options: Mapping[str, Option]) -> Trace:
        return self._net.tracer.run(replace(self._net.cut_of(options), choose=self._fixed, replace=self._arounds))

    def effects(self, axes: list[Axis]) -> Effects | None:
        """What every option of every axis adds to the sizes of all tensors; None where operators other than copies come
        or go."""
        whole = self.whole
        effects: Effects = {(axis.name, *axis.depends_on): {} for axis in axes}
        base, plain = self._net.largest, [axis for axis in axes if not axis.depends_on]
        for i in range(max((len(axis.options) for axis in plain), default=1) - 1):
            change = {axis.name: axis.options[i] for axis in plain if i < len(axis.options) - 1}
            found: dict[str, np.ndarray] = {}
            if i and change:
                together = self._added(whole, base, [change])
                if together is None:
                    return None
                added, absent = together
                firsts = {a.name: effects[a.name,][a.options[0],] for a in plain if a.name in change}
                found = {} if absent[0] else _divided(added[0], firsts)
            traced = self._apart(whole, base, {name: o for name, o in change.items() if name not in found})
            if traced is None:
                return None
            for name, effect in (found | traced[0]).items():
                effects[name,][change[name],] = effect
            for name, copies in traced[1].items():
                for copy in copies:
                    self.absent.setdefault(copy, {}).setdefault(name, set()).add(change[name])
        return effects if self._readers([axis for axis in axes if axis.depends_on], effects) else None

    def _readers(self, axes: list[Axis], effects: Effects) -> bool:
        """Add what axes that read another one do to what that one's option leaves; False where operators come or go."""
        net = self._net
        if any(len(axis.depends_on) > 1 for axis in axes):
            return False
        read = {axis.depends_on[0]: net.space[axis.depends_on[0]].options for axis in axes}
        for j in range(max(map(len, read.values()), default=0)):
            base = {**net.largest, **{name: options[min(j, len(options) - 1)] for name, options in read.items()}}
            bottom = self._trace(base)
            if bottom.signature() != self.whole.signature():
                return False
            for i in range(max(len(axis.options) for axis in axes) - 1):
                change = {axis.name: axis.options[i] for axis in axes if i < len(axis.options) - 1}
                traced = self._apart(bottom, base, change)
                if traced is None or any(traced[1].values()):
                    return False
                for axis in axes:
                    if axis.name in change:
                        pair = (change[axis.name], base[axis.depends_on[0]])
                        effects[axis.name, *axis.depends_on][pair] = traced[0][axis.name]
        return True

    def _apart(
        self, bottom: Trace, base: Mapping[str, Option], change: Mapping[str, Option]
    ) -> tuple[dict[str, np.ndarray], dict[str, frozenset[int]]] | None:
        """What each of some axes, at one option, adds to all sizes, and which copies are not made with it; None where
        other operators come or go.

        Each axis is cut in half of a few traces, no two in the same ones: which traces a size changes in says whose
        it is. Where a size is of several axes, each is traced alone.

        Args:
            bottom, base: the trace that changes are counted from, and its options.
            change: axis to the option that it takes.
        """
        if not change:
            return {}, {}
        traces = next(n for n in count(1) if comb(n, (n + 1) // 2) >= len(change))
        sets = dict(zip(change, combinations(range(traces), (traces + 1) // 2), strict=False))
        groups = [[name for name in change if t in sets[name]] for t in range(traces)]
        together = self._added(bottom, base, [{name: change[name] for name in group} for group in groups])
        if together is None:
            return None
        found, (added, absent) = {}, together
        for name, members in sets.items():
            inside = np.isin(np.arange(traces), members)[:, None, None]
            own = (added == np.where(inside, added[members[0]], 0)).all(axis=0)
            found[name] = np.where(own, added[members[0]], 0)
        own_absent = {
            name: frozenset(
                copy for copy in absent[members[0]] if all((copy in absent[t]) == (t in members) for t in range(traces))
            )
            for name, members in sets.items()
        }
        told = frozenset().union(*own_absent.values()) == frozenset().union(*absent)
        if told and all((sum(found[name] for name in groups[t]) == added[t]).all() for t in range(traces)):
            return found, own_absent
        alone = self._added(bottom, base, [{name: option} for name, option in change.items()])
        if alone is None:
            return None
        return dict(zip(change, alone[0], strict=True)), dict(zip(change, alone[1], strict=True))

    def _added(
        self, bottom: Trace, base: Mapping[str, Option], changes: list[dict[str, Option]]
    ) -> tuple[np.ndarray, list[frozenset[int]]] | None:
        """What each set of options adds to all sizes, shape (sets, tensors, RANK), and the copies that each does
        without."""
        sizes = padded(bottom.shapes)
        added = np.zeros((len(changes), *sizes.shape), dtype=np.int64)
        absent = []
        for i, change in enumerate(changes):
            found = aligned(bottom, self._trace({**base, **change}))
            if found is None:
                return None
            added[i] = padded(found[0]) - sizes
            absent.append(found[1])
        return added, absent


def _divided(together: np.ndarray, firsts: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What each axis adds of what all add together, of what the first option of each does: a size that one axis alone
    changes with that, it changes with others too. Axes that share a size that changes are left out."""
    owners = np.sum([first != 0 for first in firsts.values()], axis=0)
    shared = (together != 0) & (owners != 1)
    if (shared & (owners == 0)).any():
        return {}
    return {name: np.where(first != 0, together, 0) for name, first in firsts.items() if not (first[shared] != 0).any()}
