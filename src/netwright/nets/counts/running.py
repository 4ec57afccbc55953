"""Which operators of a trace run in which candidates, and what runs in the place of those that do not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

import numpy as np

from ...core.candidate import Option
from ...core.space import Choice
from ..trace import Trace
from .instead import Given

Aliases = list[tuple[int, int, int]]
"""Storages whose content is another's under a condition: the storage, the other, and the condition."""


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
        choices: Sequence[Choice],
    ) -> None:
        self._tables: dict[str, list[tuple[int, np.ndarray]]] = {}
        for place, choice in enumerate(choices):
            for path, runs in skipped_modules.get(choice.name, {}).items():
                table = np.array([option in runs for option in choice.options])
                self._tables.setdefault(path, []).append((place, table))
        self._conditions: dict[tuple[frozenset[str], frozenset[str]], int] = {(frozenset(), frozenset()): 0}

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


def passing(trace: Trace, running: Running, instead: Mapping[str, Sequence[Given]]) -> Aliases | None:
    """Storages whose content is another's where a module is skipped, or an option of a menu runs.

    The others come first, so that one pass goes through a chain of skipped modules. None where there is no such order.
    """
    found: dict[int, list[tuple[int, int]]] = {}
    for call in trace.menus:
        for path, given in call.options.items():
            for into, out in zip(given, call.given, strict=True):
                if into is not None and out is not None:
                    found.setdefault(trace.buffers[out], []).append((trace.buffers[into], running.where_runs(path)))
    for path, results in instead.items():
        for each in results:
            into, out = trace.buffers[each.source], trace.buffers[each.result]
            if not each.op and into != out:
                found.setdefault(out, []).append((into, running.where_skipped(path)))
    try:
        order = list(TopologicalSorter({out: [into for into, _ in own] for out, own in found.items()}).static_order())
    except CycleError:
        return None
    return [(out, into, condition) for out in order for into, condition in found.get(out, ())]
