"""Parts whose result is added to what they read: attentions and feed-forward networks, found in a trace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from torch import nn

from ..axes import Part, Parts
from ..cut import ModuleIndex
from ..menu import Menu
from ..paths import join, overlap, within
from ..stand_ins import Instead, Passthrough, Zeros
from ..trace import ADDITIONS, ModuleCall, Ref, Trace
from .flow import Flow, Value

KEEPS_ZERO = frozenset(
    (
        *("mul", "mul_", "div", "div_", "native_dropout"),
        *("alias", "clone", "contiguous", "detach", "_to_copy"),
        *("expand", "permute", "reshape", "roll", "slice", "squeeze", "t", "transpose", "unsqueeze"),
        *("view", "_unsafe_view"),
    )
)
"""Operators that make zeros of zeros, whatever else they read."""

LISTS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


@dataclass(frozen=True)
class Place:
    """Where a tensor can be seen when the network runs: among what a module is given, or gives.

    Args:
        module: the module's path.
        key: the argument by its position or name; None for the (first) result.
    """

    module: str
    key: int | str | None


@dataclass(frozen=True)
class FoundPart:
    """A part, and where what it is added to can be seen.

    Args:
        part: the part.
        kind: what it has in common with those of other layers: its path but for places in lists, and its class.
        stream: what the part is added to.
        after: the sum; None where it is not seen, or where more than the part is added.
        own: what the part adds; None where that is not seen.
    """

    part: Part
    kind: tuple[str, type]
    stream: Place
    after: Place | None
    own: Place | None


def parts(index: ModuleIndex, trace: Trace) -> Iterator[Parts]:
    """The parts of a network, those of a kind as one axis, in the order in which they run."""
    kinds: dict[tuple[str, type], list[Part]] = {}
    for found in find_parts(index, trace):
        kinds.setdefault(found.kind, []).append(found.part)
    places = [_common([part.name for part in own]) for own in kinds.values()]
    for (_, kind), own, place in zip(kinds, kinds.values(), places, strict=True):
        of = join(place, kind.__name__) if places.count(place) > 1 else place
        yield Parts(join(of, "parts"), tuple(own), tuple(range(len(own) + 1)))


def _common(paths: Sequence[str]) -> str:
    """What like paths have in common: ``layers.mlp`` of ``layers.0.mlp`` and ``layers.1.mlp``."""
    names = zip(*(path.split(".") for path in paths), strict=True)
    return ".".join(own[0] for own in names if len(set(own)) == 1)


def find_parts(index: ModuleIndex, trace: Trace) -> list[FoundPart]:
    """Every part whose result is added to what it reads, and that can be left out, in the order in which they run.

    A part is a module, or several that run for nothing else, and what stands in for it lets that to which it is added
    pass: the module that holds the addition gives it on, or the last module of the part gives zeros.
    """
    return Finder(index, trace).found()


@dataclass(frozen=True)
class Sum:
    """An addition of what comes of the stream to the stream.

    Args:
        at: the (last) operator that adds.
        ops: all of them.
        total: the sum.
        branch: what is added.
        stream: to what.
        alone: whether nothing else is added there.
    """

    at: int
    ops: frozenset[int]
    total: Value
    branch: Value
    stream: Value
    alone: bool


class Finder:
    """Finds the parts of one network.

    Attributes:
        sums: the additions to streams, in the order in which they run.
        flow: the values of the trace.
    """

    def __init__(self, index: ModuleIndex, trace: Trace) -> None:
        self.index, self.trace, self.flow = index, trace, Flow(trace)
        self.calls = {
            path: call
            for path, call in trace.calls.items()
            if path and len(index.twins(path)) == 1 and call.stop > call.start
        }
        self.sums = [s for at in sorted(self.flow.live) for s in self._sums(at)]

    def found(self) -> list[FoundPart]:
        found: list[FoundPart] = []
        taken: list[str] = []
        for each in self.sums:
            chosen = self._around(each) or self._before(each)
            if chosen is None or overlap(chosen[0], taken):
                continue
            part = self._with_helpers(*chosen, each)
            stream = self._seen(each.stream)
            if part is not None and stream is not None and not any(overlap(path, taken) for path, _ in part.modules):
                taken += [path for path, _ in part.modules]
                after = self._seen(each.total) if each.alone else None
                found.append(FoundPart(part, self._kind(part.name), stream, after, self._seen(each.branch)))
        return found

    def inside(self, each: Sum, path: str) -> bool:
        """Whether a sum lies in a module."""
        return all(within(self.trace.ops[at].module, path) for at in each.ops)

    # -- additions ---------------------------------------------------------------------------------------------

    def _is_addition(self, at: int) -> bool:
        op, shapes = self.trace.ops[at], self.trace.shapes
        if isinstance(self.index.modules.get(op.module), Menu):  # the mean of its options
            return False
        return op.name in ADDITIONS and len(op.reads) == 2 and {shapes[p] for p in op.reads} == {shapes[op.writes[0]]}

    def _sums(self, at: int) -> Iterator[Sum]:
        """What an operator adds to a stream that it comes of, if it is the last to add."""
        if not self._is_addition(at):
            return
        total = self.flow.writes[at][0]
        readers = self.flow.readers[total.number]
        if len(readers) == 1 and total.number not in self.flow.given and self._is_addition(readers[0]):
            return
        ops: set[int] = set()
        terms = list(self._terms(at, ops))
        for branch in terms:
            streams = [x for x in terms if x is not branch and self.flow.comes_of(branch, x)]
            alone = self.flow.readers[branch.number] == [next((r for r in ops if branch in self.flow.reads[r]), None)]
            if streams and alone and branch.number not in self.flow.given:
                yield Sum(at, frozenset(ops), total, branch, streams[0], len(terms) == 2)

    def _terms(self, at: int, ops: set[int]) -> Iterator[Value]:
        ops.add(at)
        for value in self.flow.reads[at]:
            made = value.made_by
            alone = len(self.flow.readers[value.number]) == 1 and value.number not in self.flow.given
            if alone and made is not None and self._is_addition(made):
                yield from self._terms(made, ops)
            else:
                yield value

    # -- the module that stands for the part -------------------------------------------------------------------

    def _around(self, each: Sum) -> tuple[str, Instead] | None:
        """The innermost module that holds the addition and little else, if it can give the stream on."""
        if not each.alone:
            return None
        for path in self._holding(each.at):
            call = self.calls.get(path)
            inside = [s for s in self.sums if within(self.trace.ops[s.at].module, path)]
            if call is None or not self.inside(each, path) or len(inside) > 1:
                return None
            key = next((k for k, value in self._arguments(call) if value == each.stream), None)
            if key is not None and not isinstance(self.index.modules[path], LISTS):
                return self._given_on(path, key, each)
        return None

    def _given_on(self, path: str, key: int | str, each: Sum) -> tuple[str, Instead] | None:
        call = self.calls[path]
        computes = any(
            self.flow.comes_of(self.flow.writes[at][0], each.total) and self._has_matrix(at)
            for at in range(each.at + 1, call.stop)
            if self.flow.writes[at]
        )
        passthrough = self._structure(path, key)
        first = _leading(call.result)
        if computes or first is None or passthrough is None:
            return None
        same = self.trace.shapes[first.position] == self._shape(each.stream)
        return (path, Instead(passthrough)) if same else None

    def _has_matrix(self, at: int) -> bool:
        """Whether an operator reads a weight of two dimensions or more."""
        weights = set(self.trace.names.values())
        return any(p in weights and len(self.trace.shapes[p]) > 1 for p in self._whole(at))

    def _whole(self, at: int) -> set[int]:
        """The tensors that an operator reads, and those that they are views of."""
        owners, buffers = self.trace.owners, self.trace.buffers
        return {q for p in self.trace.ops[at].reads for q in (p, owners[buffers[p]])}

    def _before(self, each: Sum) -> tuple[str, Instead] | None:
        """The outermost module that gives what is added and nothing else, to give zeros instead."""
        value = each.branch
        while True:
            giving = [
                path
                for path, call in self.calls.items()
                if (first := _leading(call.result)) is not None
                and self.flow.at(first.position, call.stop) == value
                and not any(call.start <= at < call.stop for at in each.ops)
                and any(True for _ in self.index.modules[path].parameters())
            ]
            if giving:
                path = min(giving, key=len)
                like = self._like(path, each)
                passthrough = self._structure(path, Zeros(like or 0))
                return None if passthrough is None else (path, Instead(passthrough, in_chain=like is None))
            at = value.made_by
            if at is None or self.trace.ops[at].name not in KEEPS_ZERO:
                return None
            inner = [v for v in self.flow.reads[at] if self.flow.comes_of(v, each.stream)]
            if len(inner) != 1 or self.flow.readers[inner[0].number] != [at]:
                return None
            value = inner[0]

    def _like(self, path: str, each: Sum) -> int | str | None:
        """An argument of the stream's shape, the first (0, however it was passed) if it has that; None where none has:
        then what runs before has to give the first in that shape."""
        call, shape = self.calls[path], self._shape(each.stream)
        alike = [k for k, r in _named(call) if self.trace.shapes[r.position] == shape]
        first = 0 if call.args else next(iter(call.kwargs), 0)
        return 0 if first in alike else next(iter(alike), None)

    def _structure(self, path: str, leading: Passthrough) -> Passthrough:
        """What a module is to give: something in the place of its first result, and for others what it was given
        or, where nobody reads them, None. None if it gives others besides."""
        call = self.calls[path]
        given = {value: key for key, value in self._arguments(call)}

        def leaf(value: Any) -> Passthrough:
            if value is None:
                return None
            if isinstance(value, Ref):
                now = self.flow.at(value.position, call.stop)
                if now in given:
                    return given[now]
                outside = [at for at in self.flow.readers[now.number] if not call.start <= at < call.stop]
                if not outside and now.number not in self.flow.given:
                    return None
            raise _NotGiven

        if isinstance(call.result, Ref):
            return leading
        if not isinstance(call.result, tuple) or not call.result or not isinstance(call.result[0], Ref):
            return None
        with suppress(_NotGiven):
            return (leading, *map(leaf, call.result[1:]))
        return None

    # -- what runs for it alone --------------------------------------------------------------------------------

    def _with_helpers(self, path: str, instead: Instead, each: Sum) -> Part | None:
        """The part with the modules that run for nothing without it, each of which gives its first argument on."""
        removed = set(range(self.calls[path].start, self.calls[path].stop))
        idle = self.flow.idle_without(removed)
        modules: dict[str, Instead] = {}
        for helper in sorted(self.calls, key=len):
            call = self.calls[helper]
            own = {at for at in range(call.start, call.stop) if at in self.flow.live}
            if not own or not own <= idle or overlap(helper, [path, *modules]):
                continue
            first = next((r for _, r in _named(call)), None)
            passthrough = self._structure(helper, 0)
            if passthrough is not None and first is not None and self._may_pass(helper, first, each):
                modules[helper] = Instead(passthrough)
        if instead.in_chain and not modules:
            return None
        modules[path] = instead
        order = sorted(modules, key=lambda p: self.calls[p].start)
        weights = {p: [t for t in self.index.modules[p].parameters() if t.dim() > 1] for p in order}
        sizes = {p: sum(t.numel() for t in own) for p, own in weights.items()}
        if not any(sizes.values()):  # an activation, written as a sum
            return None
        return Part(max(order, key=lambda p: sizes[p]), tuple((p, modules[p]) for p in order))

    def _may_pass(self, helper: str, first: Ref, each: Sum) -> bool:
        """Whether a module may give its first argument on: what it is given comes of the stream."""
        value = self.flow.at(first.position, self.calls[helper].start)
        return value == each.stream or self.flow.comes_of(value, each.stream)

    # -- names -------------------------------------------------------------------------------------------------

    def _holding(self, at: int) -> Iterator[str]:
        """The modules that an operator ran in, the innermost first, without the network itself."""
        path = self.trace.ops[at].module
        while path:
            yield path
            path = path.rpartition(".")[0]

    def _arguments(self, call: ModuleCall) -> list[tuple[int | str, Value]]:
        return [(key, self.flow.at(ref.position, call.start)) for key, ref in _named(call)]

    def _shape(self, value: Value) -> tuple[int, ...]:
        if value.made_by is None:
            return self.trace.shapes[self._position_of_given(value)]
        writes = self.flow.writes[value.made_by]
        return self.trace.shapes[self.trace.ops[value.made_by].writes[writes.index(value)]]

    def _position_of_given(self, value: Value) -> int:
        return next(
            op.reads[reads.index(value)]
            for op, reads in zip(self.trace.ops, self.flow.reads, strict=True)
            if value in reads
        )

    def _seen(self, value: Value) -> Place | None:
        """Where a value can be seen."""
        for path, call in self.trace.calls.items():
            first = _leading(call.result)
            if first is not None and self.flow.at(first.position, call.stop) == value:
                return Place(path, None)
            key = next((k for k, v in self._arguments(call) if v == value), None)
            if key is not None:
                return Place(path, key)
        return None

    def _kind(self, path: str) -> tuple[str, type]:
        names = path.split(".")
        lists = [isinstance(self.index.modules[".".join(names[:i])], LISTS) for i in range(len(names))]
        kept = ["*" if in_list else name for name, in_list in zip(names, lists, strict=True)]
        return ".".join(kept), type(self.index.modules[path])


class _NotGiven(Exception):
    """A result that cannot be left out."""


def _named(call: ModuleCall) -> list[tuple[int | str, Ref]]:
    """The tensor arguments of a call, by position or name."""
    given: list[tuple[int | str, Any]] = [*enumerate(call.args), *call.kwargs.items()]
    return [(key, value) for key, value in given if isinstance(value, Ref)]


def _leading(result: Any) -> Ref | None:
    """The tensor that a result is, or that leads it."""
    first = result[0] if isinstance(result, tuple) and result else result
    return first if isinstance(first, Ref) else None
