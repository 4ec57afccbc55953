"""Which operators of a trace run in which candidates, and what runs in the place of those that do not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter

import numpy as np

from ...core.candidate import Option
from ...core.space import Choice
from ..stand_ins import Instead, Scaled, StandIn, Zeros, passes_on
from ..trace import Op, Trace


def zeros_of(stand_ins: Mapping[str, frozenset[StandIn]]) -> frozenset[str] | None:
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


def with_zeros(trace: Trace, zeros: frozenset[str]) -> tuple[Trace, dict[int, str]]:
    """A trace with one operator more behind each of some modules, which makes zeros, and where these are."""
    ops: list[Op] = []
    made: dict[int, str] = {}
    ends: dict[int, list[str]] = {}
    for path in sorted(zeros, reverse=True):  # the inner before the outer
        ends.setdefault(max(i for i, op in enumerate(trace.ops) if _inside(op.module, path)), []).append(path)
    for i, op in enumerate(trace.ops):
        ops.append(op)
        for path in ends.get(i, ()):
            into, out = trace.around[path]
            made[len(ops)] = path
            ops.append(Op("zeros_like", path, (into,), (out,)))
    return replace(trace, ops=ops), made


def without_menus(trace: Trace) -> Trace:
    """A trace without what makes one result of those of all options of a menu, of which a candidate has one."""
    menus = {call.menu for call in trace.menus}
    return replace(trace, ops=[op for op in trace.ops if op.module not in menus]) if menus else trace


class Running:
    """What runs in candidates: which modules do, in which operators and tensors lie, as *conditions*.

    A condition holds where all of some modules run, and some others do not. Each has a place, in the order in which
    they were first asked for; the first always holds.

    Args:
        skipped_modules: axis to the modules that it may skip, with the options with which each runs.
        choices: of the space.
    """

    def __init__(
        self,
        skipped_modules: Mapping[str, Mapping[str, tuple[Option, ...]]],
        choices: Sequence[Choice] = (),
    ) -> None:
        self._tables: dict[str, list[tuple[int, np.ndarray]]] = {}
        for place, choice in enumerate(choices):
            for path, runs in skipped_modules.get(choice.name, {}).items():
                table = np.array([option in runs for option in choice.options])
                self._tables.setdefault(path, []).append((place, table))
        self._conditions: dict[tuple[frozenset[str], frozenset[str]], int] = {(frozenset(), frozenset()): 0}

    @property
    def modules(self) -> list[str]:
        """The modules that may be skipped."""
        return list(self._tables)

    def around(self, path: str) -> Iterator[str]:
        """Those of the modules that may be skipped in which a module lies, itself included."""
        while path:
            if path in self._tables:
                yield path
            path = path.rpartition(".")[0]

    def where_runs(self, path: str) -> int:
        """The condition that a module runs."""
        return self._condition(frozenset(self.around(path)), frozenset())

    def where_skipped(self, path: str) -> int:
        """The condition that a module is skipped, and none around it."""
        return self._condition(frozenset(self.around(path)) - {path}, frozenset({path}))

    def _condition(self, run: frozenset[str], skipped: frozenset[str]) -> int:
        return self._conditions.setdefault((run, skipped), len(self._conditions))

    def holds(self, rows: np.ndarray) -> np.ndarray:
        """Which conditions hold, bool of shape (conditions, candidates), for rows of positions."""
        runs = {
            # A choice that is not active, -1, counts as whole, as the last option does.
            path: np.logical_and.reduce([table[rows[:, place]] for place, table in tables])
            for path, tables in self._tables.items()
        }
        found = np.ones((len(self._conditions), len(rows)), dtype=bool)
        for own, (run, skipped) in zip(found, self._conditions, strict=True):
            for path in run:
                own &= runs[path]
            for path in skipped:
                own &= ~runs[path]
        return found


def passing(trace: Trace, running: Running, zeros: frozenset[str]) -> list[tuple[int, int, int]] | None:
    """Storages whose content is another's where a module is skipped, or an option of a menu runs: the storage, the
    other, and the condition.

    The others come first, so that one pass goes through a chain of skipped modules. None where there is no such order.
    """
    found: dict[int, list[tuple[int, int]]] = {}
    options = {path for call in trace.menus for path in call.options}
    for call in trace.menus:
        for path, given in call.options.items():
            for into, out in zip(given, call.given, strict=True):
                if into is not None and out is not None:
                    found.setdefault(trace.buffers[out], []).append((trace.buffers[into], running.where_runs(path)))
    for path in running.modules:
        if path in options or path not in trace.around:  # another path of an option
            continue
        into, out = (trace.buffers[tensor] for tensor in trace.around[path])
        if path not in zeros and into != out:
            found.setdefault(out, []).append((into, running.where_skipped(path)))
    try:
        order = list(TopologicalSorter({out: [into for into, _ in own] for out, own in found.items()}).static_order())
    except CycleError:
        return None
    return [(out, into, condition) for out in order for into, condition in found.get(out, ())]


def _inside(path: str, around: str) -> bool:
    return path == around or path.startswith(around + ".")
