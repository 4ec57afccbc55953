"""What an operator without a propagator does with indices: found out by running it on noise.

Three things are tried for each dimension of its arguments that may shrink. Its indices change places, alone or together
with those of other arguments' dimensions of the same size: if those of the results do too, they are passed on one by
one (an activation, a resampling, a normalisation), and if the results stay as they are, they are summed up in some way
(a distance, a product). If neither, its indices are changed one after the other to see which indices of the results
change: what hangs together is one channel (of a pixel shuffle, of groups), and these change places likewise.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice, product
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...core.errors import format_error
from ..inputs import is_dense, tensors_in
from ..trace import Op, Ref, Trace, changed_beside
from ..union_find import UnionFind
from .base import FIXES, MIXES, PLACES

Place = tuple[int, int]
"""Which of an operator's tensors, and which dimension of it."""

Numbering = Mapping[Place, np.ndarray]
"""For dimensions: of each index, the number of its channel from 1; 0 where it is none."""

Order = np.ndarray
"""Indices of a dimension in another order, or some of them."""

LARGE = 1 << 16
"""Elements from which on the dimensions that are not asked about are shortened, where the operator allows."""

HUGE = 1 << 25
"""Elements beyond which an operator is not tried at all: it first runs as it is."""

COSTLY = 1 << 28
"""Elements times indices beyond which indices are not changed one after the other."""

SOME = "which takes only some of them"
RANDOM = "which draws random numbers"
DEPENDS = "whose results are as many as the values say"
TOO_LARGE = "which is too large to be tried"


@dataclass(frozen=True)
class Call:
    """An operator call.

    Args:
        func: the operator, callable with tensors that have data.
        args, kwargs: its arguments; a :class:`Ref` stands for one of ``shapes``.
        shapes, dtypes: the shapes and dtypes of the different tensors among its arguments.
        values: those of them that are known, by their place in ``shapes``: indices have to lie in a range.
        results: shapes of what it gives, and of the arguments that it changes beside.
        used: which of these anybody reads.
    """

    func: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[torch.dtype, ...]
    values: Mapping[int, Tensor]
    results: tuple[tuple[int, ...], ...]
    used: tuple[bool, ...]

    def key(self) -> str:
        """The same for calls that do the same."""
        values = {at: hash(t.numpy().tobytes()) for at, t in self.values.items()}
        return repr((self.func, self.args, self.kwargs, self.shapes, self.dtypes, values, self.results, self.used))


@dataclass
class Passed:
    """Which indices of an operator's arguments and results are one channel.

    Args:
        arguments, results: their dimensions that hold channels.
        why: why other indices of the arguments cannot shrink.
        channels: how many there are.
    """

    arguments: dict[Place, np.ndarray] = field(default_factory=dict)
    results: dict[Place, np.ndarray] = field(default_factory=dict)
    why: dict[Place, str] = field(default_factory=dict)
    channels: int = 0

    def add(self, arguments: Numbering, results: Numbering) -> None:
        """Further dimensions. Channels that have a number keep it; a result's may come from several arguments in turn.

        Raises :class:`NotTried` where indices would belong to two channels.
        """
        most = max(int(row.max()) for row in arguments.values())
        numbers = np.concatenate([[0], self.channels + 1 + np.arange(most)])
        several = ((self.arguments, arguments), (self.results, results))
        for known, more in several:
            for place, row in more.items():
                both = (row > 0) & (known.get(place, 0) > 0)
                numbers[row[both]] = known[place][both] if both.any() else 0
        if len(np.unique(numbers)) <= most:
            raise NotTried(MIXES)
        for known, more in several:
            for place, row in more.items():
                before = known.get(place, np.zeros(len(row), dtype=np.int64))
                if np.any((before > 0) & (row > 0) & (before != numbers[row])):
                    raise NotTried(MIXES)
                known[place] = np.where(row > 0, numbers[row], before)
        self.why |= {place: SOME for place, row in arguments.items() if not row.all()}
        self.channels = max(int(row.max()) for row in self.arguments.values())


class NotTried(Exception):
    """The operator cannot be tried; the message says why, as the end of a sentence about it."""


def _untried(error: Exception) -> str:
    return f"which cannot be tried on noise ({format_error(error)[:100]})"


def call_of(op: Op, trace: Trace, used: Callable[[int], bool]) -> tuple[Call, list[int], list[int]]:
    """The call that an operator of a trace is, and the positions of its arguments and of its results."""
    reads, writes = list(dict.fromkeys(op.reads)), [*op.writes, *op.changes]
    at = {position: i for i, position in enumerate(reads)}
    assert op.func is not None
    call = Call(
        op.func,
        _referring(op.args, at),
        _referring(op.kwargs, at),
        tuple(trace.shapes[p] for p in reads),
        tuple(trace.dtypes[p] for p in reads),
        {at[p]: trace.values[p] for p in reads if p in trace.values},
        tuple(trace.shapes[p] for p in writes),
        tuple(used(p) for p in writes),
    )
    return call, reads, writes


def _referring(value: Any, at: Mapping[int, int]) -> Any:
    if isinstance(value, Ref):
        return Ref(at[value.position])
    if isinstance(value, Mapping):
        return {key: _referring(part, at) for key, part in value.items()}
    return tuple(_referring(part, at) for part in value) if isinstance(value, tuple) else value


def probe(call: Call, wanted: Collection[Place]) -> Passed:
    """What the operator does with the indices of the dimensions of its arguments that are wanted."""
    passed = Passed()
    samples: dict[int, _Sample] = {}
    elements = sum(map(prod, call.shapes))
    if elements > HUGE:
        return Passed(why=dict.fromkeys(wanted, TOO_LARGE))
    large = elements > LARGE
    with torch.random.fork_rng(devices=[]), torch.no_grad(), torch.inference_mode(False):
        torch.manual_seed(0)
        for place in wanted:
            if place in passed.arguments:
                continue
            size = call.shapes[place[0]][place[1]]
            try:
                if (size if large else 0) not in samples:
                    samples[size if large else 0] = _Sample(call, size, large)
                sample = samples[size if large else 0]
                passed.add(*(_together(sample, place) or _connected(sample, place)))
            except NotTried as why:
                passed.why[place] = str(why)
            except Exception as error:
                depends = torch.Tag.dynamic_output_shape in getattr(call.func, "tags", ())
                passed.why[place] = DEPENDS if depends else _untried(error)
    return passed


class _Sample:
    """The operator on noise.

    Args:
        call: what is called.
        size: the size of the dimension that is asked about.
        large: whether dimensions of other sizes are to be shortened.
    """

    def __init__(self, call: Call, size: int, large: bool) -> None:
        self.call, self._size = call, size
        self.lengths: dict[int, int] = {}  # of dimensions that are shortened
        self.noise: list[list[Tensor]] = []
        self.results: list[Tensor] = []
        self._start()
        if large:
            self._shorten()
        again = self.run(self.noise[0])
        for noise in self.noise[1:]:
            with suppress(RuntimeError):  # what is far from zero, the operator may refuse
                other = zip(self.run(noise), self.results, self.call.used, strict=True)
                if any(a.shape != b.shape for a, b, used in other if used):
                    raise NotTried(DEPENDS)
        if not all(_same(a, b) for a, b, used in zip(self.results, again, self.call.used, strict=True) if used):
            raise NotTried(RANDOM)

    def size(self, place: Place) -> int:
        """Of a dimension of an argument."""
        return self.noise[0][place[0]].shape[place[1]]

    @property
    def elements(self) -> int:
        """Elements of all arguments."""
        return sum(t.numel() for t in self.noise[0])

    def _start(self) -> None:
        """Noise of a kind that the operator takes."""
        failed: Exception | None = None
        for kind, whole in product((_normal, _positive), (2, 1)):
            self.noise = [
                [self._tensor(at, kind, change, whole) for at in range(len(self.call.shapes))] for change in (0, 1, -1)
            ]
            try:
                self.results = self.run(self.noise[0])
            except Exception as error:  # of an operator that anybody may have written
                failed = failed or error
                continue
            if not all(map(is_dense, self.results)):
                raise NotTried("which gives a sparse tensor")
            used = [(t, n) for t, n, u in zip(self.results, self.call.results, self.call.used, strict=True) if u]
            if any(tuple(t.shape) != shape for t, shape in used):
                raise NotTried(DEPENDS)
            if all(_is_finite(t) for t, _ in used) or kind is _positive:
                return
        raise NotTried(_untried(failed) if failed else DEPENDS)

    def _tensor(self, at: int, kind: Callable[..., Tensor], change: int, whole: int) -> Tensor:
        shape, dtype = self.call.shapes[at], self.call.dtypes[at]
        known = self.call.values.get(at)
        if dtype.is_floating_point or dtype.is_complex:
            return kind(shape, change).to(dtype)
        if known is None or not known.numel():
            return torch.randint(0, 2 if dtype == torch.bool else whole, shape).to(dtype)
        return torch.randint(int(known.min()), int(known.max()) + 1, shape).to(dtype) if change else known.clone()

    def _shorten(self) -> None:
        """Halve other dimensions as often as the operator runs."""
        sizes = {n for shape in self.call.shapes for n in shape} - {self._size}
        for size in sorted(sizes, reverse=True):
            short = size
            while short % 2 == 0 and short > 4:
                short //= 2
            if short == size:
                continue
            before = self.noise, self.results, self.lengths
            cut = {
                (at, dim): np.arange(short)
                for at, shape in enumerate(self.call.shapes)
                for dim, n in enumerate(shape)
                if n == size
            }
            self.noise = [self._picked(cut, noise) for noise in self.noise]
            for self.lengths in (before[2], {**before[2], size: short}):
                with suppress(Exception):
                    self.results = self.run(self.noise[0])
                    if [t.dim() for t in self.results] == [t.dim() for t in before[1]]:
                        break
            else:
                self.noise, self.results, self.lengths = before

    def run(self, tensors: Sequence[Tensor], lengths: Mapping[int, int] | None = None) -> list[Tensor]:
        """The results for these arguments, and the arguments that are changed beside."""
        own = [t.clone() for t in tensors]
        lengths = self.lengths if lengths is None else lengths

        def given(value: Any) -> Any:
            if isinstance(value, Ref):
                return own[value.position]
            if isinstance(value, Mapping):
                return {key: given(part) for key, part in value.items()}
            if isinstance(value, tuple):
                return [lengths.get(v, v) if type(v) is int else given(v) for v in value]
            return torch.device("cpu") if isinstance(value, torch.device) else value

        args = [given(value) for value in self.call.args]
        results = list(tensors_in(self.call.func(*args, **given(self.call.kwargs))))
        return results + [own[ref.position] for ref in changed_beside(self.call.func, self.call.args, self.call.kwargs)]

    def _picked(self, orders: Mapping[Place, Order], noise: Sequence[Tensor]) -> list[Tensor]:
        picked = list(noise)
        for (at, dim), order in orders.items():
            picked[at] = picked[at].index_select(dim, torch.from_numpy(order))
        return picked

    def picked(self, orders: Mapping[Place, Order], lengths: Mapping[int, int] | None = None) -> list[Tensor]:
        """The results where the arguments' dimensions hold these indices."""
        return self.run(self._picked(orders, self.noise[0]), {**self.lengths, **(lengths or {})})

    def wanted(self, at: int, orders: Mapping[int, Order]) -> Tensor:
        """A result whose dimensions hold these indices."""
        result = self.results[at]
        for dim, order in orders.items():
            result = result.index_select(dim, torch.from_numpy(order))
        return result

    def dims(self, at: int, size: int) -> list[int]:
        """The dimensions of a result of this size, in the sample as in the network."""
        whole = self.call.results[at]
        return [d for d, n in enumerate(self.results[at].shape) if n == size == whole[d]]

    def reached(self, place: Place, index: int) -> Iterator[tuple[int, Tensor]]:
        """For each result that is used: where it changes if the place's index does."""
        at, dim = place
        base, *others = self.noise
        changed: list[Tensor | None] = [None] * len(self.results)
        for other in others:
            tensors = list(base)
            tensors[at] = base[at].clone()
            tensors[at].select(dim, index).copy_(other[at].select(dim, index))
            for i, (a, b) in enumerate(zip(self.results, self.run(tensors), strict=True)):
                if a.shape != b.shape:
                    raise NotTried(DEPENDS)
                if self.call.used[i]:
                    unlike = (a != b) & ~((a != a) & (b != b))
                    known = changed[i]
                    changed[i] = unlike if known is None else known | unlike
        yield from ((i, t) for i, t in enumerate(changed) if t is not None)


def _together(sample: _Sample, place: Place) -> tuple[dict[Place, np.ndarray], dict[Place, np.ndarray]] | None:
    """Channels that are passed on one by one, or summed up."""
    size, fixed = sample.size(place), False
    order = _shuffled(size)
    own = np.arange(1, size + 1)
    for bundle in _bundles(sample, place):
        try:
            now = sample.picked(dict.fromkeys(bundle, order))
        except Exception:
            continue
        moved = [_moved(sample, i, now[i], order) for i in range(len(now)) if sample.call.used[i]]
        if None in moved:
            continue
        results = {(i, d) for found in moved for i, d in found or ()}
        if results or _is_free(sample, bundle):
            return dict.fromkeys(bundle, own), dict.fromkeys(results, own)
        fixed = True
    if fixed:
        raise NotTried(FIXES)
    return None


def _bundles(sample: _Sample, place: Place) -> Iterator[tuple[Place, ...]]:
    """The place, alone and with other dimensions of its size: at most one of each other argument, or of its own."""
    shapes = [tuple(t.shape) for t in sample.noise[0]]
    choices: list[list[Place | None]] = []
    for at, shape in enumerate(shapes):
        others = [(at, dim) for dim, n in enumerate(shape) if n == sample.size(place) and (at, dim) != place]
        choices.append([None, *others])
    several = [tuple(p for p in chosen if p is not None) for chosen in islice(product(*choices), 512)]
    yield from ((place, *chosen) for chosen in sorted(several, key=len)[:64])


def _moved(sample: _Sample, at: int, now: Tensor, order: Order) -> list[Place] | None:
    """The dimensions of a result that have changed places; none if it is as it was; None if it is something else."""
    dims = sample.dims(at, len(order))
    several = [(d,) for d in dims] + [(a, b) for a in dims for b in dims if a < b] + [()]
    for chosen in several:
        if _same(sample.wanted(at, dict.fromkeys(chosen, order)), now):
            return [(at, d) for d in chosen]
    return None


def _is_free(sample: _Sample, bundle: Sequence[Place]) -> bool:
    """Whether the results keep their shapes where there are fewer indices."""
    size = sample.size(bundle[0])
    fewer = dict.fromkeys(bundle, np.arange(size // 2))
    for lengths in ({}, {size: size // 2}):
        with suppress(Exception):
            if [t.shape for t in sample.picked(fewer, lengths)] == [t.shape for t in sample.results]:
                return True
    return False


def _connected(sample: _Sample, place: Place) -> tuple[dict[Place, np.ndarray], dict[Place, np.ndarray]]:
    """Channels of several indices, or in another order in the results."""
    size = sample.size(place)
    if sample.elements * size > COSTLY:
        raise NotTried(TOO_LARGE)
    labels = UnionFind()
    rows = {place: labels.new(size)}
    tables = _graph(sample, place)
    results: dict[Place, np.ndarray] = {}
    for at in {at for at, _ in tables}:
        here = {p: table for p, table in tables.items() if p[0] == at}
        best = max(here, key=lambda p: _parts(here[p]))
        if _parts(here[best]) < 2:
            raise NotTried(MIXES)
        results[best] = labels.new(here[best].shape[1])
        _unite(labels, rows[place], results[best], here[best])
    if not results:
        raise NotTried(FIXES)
    for other in _others(sample, place):
        for p, table in _graph(sample, other).items():
            if p in results and _parts(table) > 1:
                rows.setdefault(other, labels.new(len(table)))
                _unite(labels, rows[other], results[p], table)
    reached = np.any([tables[p].any(1) for p in results], axis=0)
    numbers = np.unique(labels.find(rows[place])[reached])

    def numbered(row: np.ndarray) -> np.ndarray:
        found = labels.find(row)
        return np.where(np.isin(found, numbers), np.searchsorted(numbers, found) + 1, 0)

    arguments = {p: row for p, labels_ in rows.items() if (row := numbered(labels_)).any()}
    given = {p: numbered(row) for p, row in results.items()}
    if len(numbers) < 2:
        raise NotTried(MIXES)
    if not _change_places(sample, arguments, given):
        raise NotTried(PLACES)
    return _cuttable(sample, place, arguments, given)


def _graph(sample: _Sample, place: Place) -> dict[Place, np.ndarray]:
    """For each dimension of each result: which of its indices (columns) change with which of the place (rows)."""
    tables: dict[Place, np.ndarray] = {}
    size = sample.size(place)
    for index in range(size):
        for at, changed in sample.reached(place, index):
            for dim in range(changed.dim()):
                if changed.shape[dim] == sample.call.results[at][dim] > 1:
                    table = tables.setdefault((at, dim), np.zeros((size, changed.shape[dim]), bool))
                    table[index] = changed.movedim(dim, 0).flatten(1).any(1).numpy()
    return {p: table for p, table in tables.items() if table.any()}


def _others(sample: _Sample, place: Place) -> list[Place]:
    """Dimensions of the other arguments."""
    tensors = enumerate(sample.noise[0])
    return [(i, d) for i, t in tensors if i != place[0] for d, n in enumerate(t.shape) if 1 < n <= 4096]


def _unite(labels: UnionFind, rows: np.ndarray, columns: np.ndarray, table: np.ndarray) -> None:
    i, j = np.nonzero(table)
    labels.unite(rows[i], columns[j])


def _parts(table: np.ndarray) -> int:
    """Into how many parts a table falls that have nothing in common."""
    labels = UnionFind()
    rows, columns = labels.new(table.shape[0]), labels.new(table.shape[1])
    _unite(labels, rows, columns, table)
    return len(np.unique(labels.find(rows)[table.any(1)]))


def _change_places(sample: _Sample, arguments: Numbering, results: Numbering) -> bool:
    """Whether channels that are alike can change places in the arguments, and then do in the results."""
    counts = [np.bincount(row) for row in (*arguments.values(), *results.values())]
    width = max(map(len, counts))
    kinds: dict[tuple[int, ...], list[int]] = {}
    for channel in range(1, width):
        kinds.setdefault(tuple(int(c[channel]) if channel < len(c) else 0 for c in counts), []).append(channel)
    turned = np.arange(width)
    for alike in kinds.values():
        turned[alike] = np.array(alike)[_shuffled(len(alike))] if len(alike) > 1 else alike
    if np.array_equal(turned, np.arange(width)):
        return False
    try:
        now = sample.picked({p: _ordered(row, turned) for p, row in arguments.items()})
    except Exception:
        return False
    return _as_wanted(sample, now, {p: _ordered(row, turned) for p, row in results.items()})


def _ordered(row: np.ndarray, turned: np.ndarray) -> Order:
    """Indices such that each channel's stand where those of the channel that it turns into stood."""
    order = np.arange(len(row))
    for channel in np.unique(row):
        order[row == channel] = np.flatnonzero(row == turned[channel])
    return order


def _as_wanted(sample: _Sample, now: Sequence[Tensor], orders: Mapping[Place, Order]) -> bool:
    return all(
        _same(sample.wanted(at, {d: order for (i, d), order in orders.items() if i == at}), now[at])
        for at in range(len(now))
        if sample.call.used[at]
    )


def _cuttable(
    sample: _Sample, place: Place, arguments: dict[Place, np.ndarray], results: dict[Place, np.ndarray]
) -> tuple[dict[Place, np.ndarray], dict[Place, np.ndarray]]:
    """The channels, or larger ones of which the first can be kept: one index of each group, for a channel shuffle."""
    channels = int(arguments[place].max())
    plain = np.arange(channels)
    runs = False
    for parts in (n for n in range(channels, 1, -1) if channels % n == 0):
        for merged in (plain % parts, plain // (channels // parts)):
            to = np.concatenate([[0], merged + 1])
            several = {p: to[row] for p, row in arguments.items()}, {p: to[row] for p, row in results.items()}
            kept = _keeps_first(sample, *several, parts)
            if kept:
                return several
            runs = runs or kept is False
    if runs:
        raise NotTried(PLACES)
    return arguments, results


def _keeps_first(sample: _Sample, arguments: Numbering, results: Numbering, channels: int) -> bool | None:
    """Whether half of the channels are passed on as they are among all; None where the operator does not run so."""
    keep = max(1, channels // 2)

    def few(rows: Numbering) -> dict[Place, Order]:
        return {p: np.flatnonzero(row <= keep) for p, row in rows.items()}

    found: bool | None = None
    first = next(iter(arguments))
    for lengths in ({}, {len(arguments[first]): len(few(arguments)[first])}):
        with suppress(Exception):
            found = _as_wanted(sample, sample.picked(few(arguments), lengths), few(results))
        if found:
            break
    return found


def _shuffled(size: int) -> Order:
    """An order of so many indices that is not their own; the first goes last."""
    order = np.random.default_rng(size).permutation(size)
    return order if not np.array_equal(order, np.arange(size)) else np.roll(order, 1)


def _normal(shape: tuple[int, ...], change: int) -> Tensor:
    return torch.randn(shape) + change * (5 + 5 * torch.rand(shape))


def _positive(shape: tuple[int, ...], change: int) -> Tensor:
    """Between 0 and 1: for operators that are not defined elsewhere."""
    return 0.1 + 0.8 * torch.rand(shape)


def _is_finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or tensor.numel() == 0 or bool(torch.isfinite(tensor).float().mean() > 0.5)


def _same(one: Tensor, other: Tensor) -> bool:
    """Equal up to rounding."""
    if one.shape != other.shape:
        return False
    if not one.is_floating_point() and not one.is_complex():
        return torch.equal(one, other)
    tolerance = 1e-4 if torch.finfo(one.dtype).eps < 1e-5 else 2e-2
    wide = torch.complex128 if one.is_complex() else torch.float64
    a, b = one.to(wide), other.to(wide)
    finite = a[torch.isfinite(a.abs())]
    scale = float(finite.abs().max()) if finite.numel() else 0.0
    return torch.allclose(a, b, rtol=0.0, atol=tolerance * max(scale, 1e-12), equal_nan=True)
