"""Which numbers in a network's attributes count its channels: found by running it, and never by their names.

A number may count the channels of a width where some tensor has a dimension of that size that holds them. Which of
these numbers must change for a cut shows how far the network runs as the dependency groups say it should: one that is
needed lets it run further.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from .axes import TiedAxes, Width
from .axes.width import SizeAttribute
from .cut import ModuleIndex
from .expected_sizes import ExpectedSizes
from .layers import follows
from .places import numbers
from .union_find import RIGID

ENDS = 1 << 60
"""How far a network runs that runs to its end."""


@dataclass(frozen=True)
class Outcome:
    """What a run of a cut network came to.

    Args:
        far: how many operators did what was expected, :data:`ENDS` where all did.
        why: why it does not run; None where it does.
        place: path of the module where it stops.
    """

    far: int
    why: str | None = None
    place: str = ""


@dataclass(frozen=True)
class Unit:
    """Numbers that are tried together: those of one name in modules of one class.

    Args:
        name: class of the modules, and place in them.
        counts: for each width of an axis, by its position there, what counts it.
    """

    name: tuple[str, str]
    counts: tuple[tuple[int, SizeAttribute], ...]


class SizeAttributes:
    """The numbers that may count a network's channels.

    Args:
        index: the module index of the model.
        expected: the sizes of its tensors.
    """

    def __init__(self, index: ModuleIndex, expected: ExpectedSizes) -> None:
        self._index, self._expected = index, expected
        self._numbers: dict[str, list[tuple[str, int]]] = {}
        self._learned: list[tuple[str, str]] = []  # names of units that were needed before
        self._hopeless: set[tuple[tuple[tuple[str, str], ...], str]] = set()

    @cached_property
    def _rows(self) -> dict[int, list[int]]:
        """Label to the rows that hold it. Many networks run without any number's being looked for."""
        found: dict[int, list[int]] = {}
        for at, row in enumerate(self._expected.rows):
            for label in np.unique(row).tolist():
                found.setdefault(label, []).append(at)
        return found

    @cached_property
    def _modules(self) -> dict[int, set[str]]:
        """Row to the modules whose operators make it."""
        found: dict[int, set[str]] = {}
        for op, results in self._expected.ops:
            for rows in results:
                for made in rows or ():
                    if made is not None:
                        found.setdefault(made, set()).add(op.module)
        return found

    def fit(self, axis: Width | TiedAxes, attempt: Callable[[Width | TiedAxes], Outcome]) -> Width | TiedAxes | Outcome:
        """The axis with all that must count its channels, or how it fails.

        Args:
            axis: a width, or widths with one choice.
            attempt: runs the network with the axis cut.
        """
        runs: dict[tuple[int, ...], Outcome] = {}

        def run(units: Sequence[Unit]) -> Outcome:
            key = tuple(sorted(map(id, units)))
            if key not in runs:
                runs[key] = attempt(_counting(axis, units))
            return runs[key]

        chosen: list[Unit] = []
        units: list[Unit] | None = None
        while run(chosen).why is not None:
            units = self._units(axis) if units is None else [u for u in units if u not in chosen]
            known = [u for u in units if u.name in self._learned]
            now = run(chosen)
            # A layer like one for which nothing was found: the same numbers, and it fails in the same way.
            like = (tuple(sorted({u.name for u in units})), (now.why or "").replace(now.place, ""))
            further = [] if like in self._hopeless else _further(run, chosen, known) or _further(run, chosen, units)
            if not further:
                self._hopeless.add(like)
                return now
            chosen += further
        self._learned += [u.name for u in chosen if u.name not in self._learned]
        return _counting(axis, chosen)

    def modules(self, width: Width) -> set[str]:
        """The modules whose operators make tensors that hold the width's channels."""
        rows = {row for label in np.unique(self._labels(width)).tolist() for row in self._rows.get(label, ())}
        return {path for row in rows for path in self._modules.get(row, ())} | width.affected_modules(self._index)

    def _labels(self, width: Width) -> np.ndarray:
        for s in width.slices:
            row = self._expected.of_weight(s.tensor, s.dim)
            if row is not None:
                return row[s.offset : s.offset + width.channels * s.block : s.block]
        return np.full(width.channels, RIGID)

    def _times(self, widths: Sequence[Width]) -> dict[int, list[tuple[tuple[int, int], ...]]]:
        """By size: what a number of that size may count, as pairs of a width's position and how often it counts it."""
        labels = [self._labels(w) for w in widths]
        owner = {int(label): at for at, own in enumerate(labels) for label in own[:1] if label != RIGID}
        found: dict[int, list[tuple[tuple[int, int], ...]]] = {}

        def add(size: int, *pairs: tuple[int, int]) -> None:
            if pairs not in found.setdefault(size, []):
                found[size].append(pairs)

        for row in sorted({row for label in owner for row in self._rows.get(label, ())}):
            values, counts = np.unique(self._expected.rows[row], return_counts=True)
            held = [(owner[v], c) for v, c in zip(values.tolist(), counts.tolist(), strict=True) if v in owner]
            add(len(self._expected.rows[row]), *held)
        for at, width in enumerate(widths):
            for block in dict.fromkeys((1, *(s.block for s in width.slices))):
                add(width.channels * block, (at, block))
        return found

    def _units(self, axis: Width | TiedAxes) -> list[Unit]:
        """What may count the channels of an axis, inner modules first."""
        widths, taken = _widths(axis)
        times = self._times(widths)
        near = [{path for place in self.modules(w) for path in _upwards(place)} for w in widths]
        found: dict[tuple[type, str, tuple[int, ...]], dict[tuple[str, str], list[tuple[int, SizeAttribute]]]] = {}
        for path in sorted(set().union(*near), key=lambda path: (not path, -path.count("."), path)):
            module = self._index.modules[path]
            if follows(module):
                continue
            if path not in self._numbers:
                self._numbers[path] = list(numbers(module))
            for place, value in self._numbers[path]:
                for pairs in times.get(value, ()):
                    own = [(at, k) for at, k in pairs if path in near[at]]
                    falls = tuple(sum(k * (widths[at].channels - options[at]) for at, k in own) for options in taken)
                    if any(falls):
                        counts: list[tuple[int, SizeAttribute]] = [(at, (path, place, k)) for at, k in own]
                        found.setdefault((type(module), place, falls), {}).setdefault((path, place), counts)
        return [
            Unit((f"{kind.__module__}.{kind.__qualname__}", place), tuple(c for own in counts.values() for c in own))
            for (kind, place, _), counts in found.items()
        ]


def _widths(axis: Width | TiedAxes) -> tuple[list[Width], list[tuple[int, ...]]]:
    """The widths of an axis, and for each of its options what each width takes."""
    if isinstance(axis, Width):
        return [axis], [(option,) for option in axis.options]
    own = [(width, taken) for width, taken in axis.axes if isinstance(width, Width)]
    return [w for w, _ in own], [tuple(int(taken[i]) for _, taken in own) for i in range(len(axis.options))]  # type: ignore[arg-type]


def _counting(axis: Width | TiedAxes, units: Sequence[Unit]) -> Width | TiedAxes:
    """The axis with the units' numbers counting its channels, each place once."""
    counts: dict[int, list[SizeAttribute]] = {}
    taken: dict[tuple[str, str], Unit] = {}
    for unit in units:
        for at, count in unit.counts:
            if taken.setdefault((count[0], count[1]), unit) is unit:
                counts.setdefault(at, []).append(count)
    if isinstance(axis, Width):
        return replace(axis, size_attributes=tuple(counts.get(0, ())))
    axes = [(replace(w, size_attributes=tuple(counts.get(at, ()))), own) for at, (w, own) in enumerate(axis.axes)]  # type: ignore[type-var]
    return replace(axis, axes=tuple(axes))


def _further(run: Callable[[Sequence[Unit]], Outcome], chosen: list[Unit], rest: list[Unit]) -> list[Unit]:
    """Few of the rest with which the network runs further than with those chosen alone; none where none does."""
    past = run(chosen).far
    if not rest:
        return []
    if run([*chosen, *rest]).far > past:
        needed: list[Unit] = []
        while not needed or run([*chosen, *needed]).far <= past:
            low, high = 0, len(rest)  # so many of the first are too few, and enough
            while high - low > 1:
                middle = (low + high) // 2
                enough = run([*chosen, *needed, *rest[:middle]]).far > past
                low, high = (low, middle) if enough else (middle, high)
            needed.append(rest[high - 1])
            rest = rest[: high - 1]
        return needed
    # One that counts something else stands in the way of all.
    far = {id(unit): run([*chosen, unit]).far for unit in rest}
    best = max(rest, key=lambda unit: far[id(unit)])
    if far[id(best)] > past:
        return [best]
    harmless = [unit for unit in rest if far[id(unit)] >= past]
    return _further(run, chosen, harmless) if len(harmless) < len(rest) else []


def _upwards(path: str) -> Iterator[str]:
    while True:
        yield path
        if not path:
            return
        path = path.rpartition(".")[0]
