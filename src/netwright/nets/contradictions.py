"""Whether axes may live together: what each may write is looked at before any candidate is cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import torch
from torch import nn

from ..core.candidate import Option
from ..core.errors import NetError, did_you_mean, format_error
from .axes import Axis, RelativeWidth
from .cut import CutBuilder, ModuleIndex
from .menu import Menu
from .stand_ins import Around, Instead, Passthrough, StandIn, passes_on, unlike
from .transforms import Transform

Written = tuple[Axis, Option]
"""An axis, and what it writes for: see :meth:`netwright.SuperNet.given`."""


@dataclass(frozen=True)
class Writes:
    """What some options of some axes write.

    Args:
        transforms: by tensor, all that it may be made by.
        stand_ins: by module, all that may run in its place.
        menus: those of which an option is chosen.
    """

    transforms: Mapping[str, frozenset[Transform]]
    stand_ins: Mapping[str, frozenset[StandIn]]
    menus: frozenset[str]

    def with_transforms(self, more: Mapping[str, frozenset[Transform]]) -> Writes:
        """The same where tensors may be made by others too."""
        tensors = {*self.transforms, *more}
        none: frozenset[Transform] = frozenset()
        both = {name: self.transforms.get(name, none) | more.get(name, none) for name in tensors}
        return replace(self, transforms=both)


def check_axes(index: ModuleIndex, axes: Sequence[Axis]) -> Writes:
    """Refuse axes that reach beyond the network or contradict one another. Raises :class:`NetError` in words.

    Returns:
        What some option of some axis writes.
    """
    claimed: dict[tuple[str, int], list[tuple[int, int, str]]] = {}
    skipped: dict[str, str] = {}
    for axis in axes:
        for tensor, dim, start, stop in axis.regions(index):
            shape = index.shapes.get(tensor)
            if shape is None or not 0 <= dim < len(shape) or start < 0 or stop > shape[dim]:
                raise NetError(f"axis {axis.name!r} cuts {tensor}[{dim}] up to {stop}, but its shape is {shape}")
            for a, b, other in claimed.get((tensor, dim), []):
                if a < stop and start < b:
                    raise _contradiction(other, axis.name, f"cut {tensor}, dimension {dim}")
            claimed.setdefault((tensor, dim), []).append((start, stop, axis.name))
        axis.affected_modules(index)
        _check_read(axis, axes)
        for path in axis.skipped_modules():
            if isinstance(index.modules.get(path.rpartition(".")[0]), Menu):
                continue  # an option may be a part of another
            _check_alone(index, axis, path, "skips")
            if path in skipped:
                raise NetError(f"axes {skipped[path]!r} and {axis.name!r} contradict: both skip {path}")
            skipped[path] = axis.name
    all_writing = [_Writing.of(axis, axes, index) for axis in axes]
    _check_written(index, all_writing)
    found: dict[str, set[Transform]] = {}
    for writing in all_writing:
        for (tensor, _), transforms in writing.transforms.items():
            found.setdefault(tensor, set()).update(transforms)
    stand_ins: dict[str, set[StandIn]] = {}
    for path, stand_in in (each for writing in all_writing for each in writing.replaced):
        stand_ins.setdefault(path, set()).add(stand_in)
    return Writes(
        {tensor: frozenset(transforms) for tensor, transforms in found.items()},
        {path: frozenset(others) for path, others in stand_ins.items()},
        frozenset(menu for writing in all_writing for menu in writing.menus),
    )


def _check_alone(index: ModuleIndex, axis: Axis, path: str, does: str) -> None:
    module = index.module(path)
    twins = [p for p, m in index.modules.items() if m is module]
    if len(twins) > 1:
        raise NetError(
            f"axis {axis.name!r} {does} {path}, which is one module at {', '.join(twins)}; "
            "give each place a module of its own (their tensors may be tied)"
        )


def _contradiction(one: str, other: str, what: str) -> NetError:
    if one == other:
        return NetError(f"axis {one!r} contradicts itself: its parts {what}; let one of them do it")
    return NetError(
        f"axes {one!r} and {other!r} contradict one another: both {what}; merge them into one axis or drop one"
    )


def _check_read(axis: Axis, axes: Sequence[Axis]) -> None:
    names = [a.name for a in axes]
    unknown = [name for name in axis.depends_on if name not in names]
    if unknown:
        raise NetError(
            f"axis {axis.name!r} reads {unknown[0]!r}, which is not an axis; {did_you_mean(unknown[0], names)}"
        )
    if isinstance(axis, RelativeWidth) and axis.of.options != next(a.options for a in axes if a.name == axis.of.name):
        raise NetError(f"axis {axis.name!r} is a share of another {axis.of.name!r}, with other options")


@dataclass
class _Writing:
    """What an axis writes, over all its options: the transforms, with the first option that writes each, and places."""

    axis: Axis
    smallest: Option
    transforms: dict[tuple[str, str], dict[Transform, Option]] = field(default_factory=dict)
    places: dict[tuple[str, str], str] = field(default_factory=dict)
    drops: set[str] = field(default_factory=set)
    replaced: set[tuple[str, StandIn]] = field(default_factory=set)
    menus: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, axis: Axis, axes: Sequence[Axis], index: ModuleIndex) -> _Writing:
        read = [next(a.options for a in axes if a.name == name) for name in axis.depends_on]
        given: list[Option] = list(product(axis.options, *read)) if read else list(axis.options)
        found = cls(axis, given[0])
        for option in given:
            builder = CutBuilder()
            try:
                axis.write(option, builder, index)
            except NetError as error:
                raise error if repr(axis.name) in str(error) else NetError(f"axis {axis.name!r}: {error}") from error
            for tensor, kind, transform in builder.written():
                found.transforms.setdefault((tensor, kind), {}).setdefault(transform, option)
            for path, place, how in builder.places():
                found.places[path, place] = "set" if found.places.get((path, place)) == "set" else how
            found.replaced.update(builder.replaced())
            found.menus.update(builder.chosen())
            found.drops.update(tensor for tensor, *_ in builder.dropped())
        return found


def _check_written(index: ModuleIndex, all_writing: Sequence[_Writing]) -> None:
    _check_replaced(index, all_writing)
    menus: dict[str, str] = {}
    for writing in all_writing:
        for menu in writing.menus:
            first = index.twins(menu)[0]
            if menus.setdefault(first, writing.axis.name) != writing.axis.name:
                raise _contradiction(menus[first], writing.axis.name, f"choose of the menu at {menu}")
    places: dict[tuple[str, str], _Writing] = {}
    kinds: dict[tuple[str, str], str] = {}
    for writing in all_writing:
        name = writing.axis.name
        for place, how in writing.places.items():
            other = places.setdefault(place, writing)
            if other is not writing and "set" in (how, other.places[place]):
                raise _contradiction(other.axis.name, name, f"set {'.'.join(place)}")
        for tensor, kind in writing.transforms:
            if kinds.setdefault((tensor, kind), name) != name:
                raise _contradiction(kinds[tensor, kind], name, f"make {tensor} by a transform of the kind {kind!r}")
    reads = _reads(all_writing)
    _check_circles(reads)
    for maker in all_writing:
        for tensor, kind in maker.transforms:
            for option in maker.transforms[tensor, kind].values():
                _check_made(index, tensor, [(maker.axis, option)])
                for other in all_writing:
                    if other is not maker and _concerns(other, {tensor, *reads[tensor]}):
                        _check_made(index, tensor, [(maker.axis, option), (other.axis, other.smallest)])


def _check_replaced(index: ModuleIndex, all_writing: Sequence[_Writing]) -> None:
    taken: dict[str, str] = {}
    for writing in all_writing:
        name, skipped = writing.axis.name, writing.axis.skipped_modules()
        for path, other in sorted(writing.replaced, key=repr):
            if not path:
                raise NetError(f"axis {name!r} replaces the network itself, which nothing holds; name a module of it")
            if taken.setdefault(path, name) != name:
                raise _contradiction(taken[path], name, f"replace {path}")
            if path not in skipped:
                _check_alone(index, writing.axis, path, "replaces")
            for helper in (other.before, other.after) if isinstance(other, Around) else ():
                if helper is not None:
                    index.module(helper)
                    if f"{helper}.".startswith(f"{path}.") or f"{path}.".startswith(f"{helper}."):
                        raise NetError(
                            f"axis {name!r} runs {helper} beside {path}, but one lies in the other; hold what runs "
                            "beside it elsewhere in the network"
                        )


def _concerns(writing: _Writing, tensors: set[str]) -> bool:
    return not tensors.isdisjoint(writing.drops | {tensor for tensor, _ in writing.transforms})


def _reads(all_writing: Sequence[_Writing]) -> dict[str, set[str]]:
    """By tensor that is made, those that it is made of."""
    found: dict[str, set[str]] = {}
    for writing in all_writing:
        for (tensor, _), transforms in writing.transforms.items():
            found.setdefault(tensor, set()).update(name for transform in transforms for name in transform.reads)
    return found


def _check_circles(reads: Mapping[str, set[str]]) -> None:
    def within(tensor: str, trail: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        if tensor in trail:
            yield (*trail, tensor)
            return
        for name in sorted(reads.get(tensor, ())):
            yield from within(name, (*trail, tensor))

    for tensor in reads:
        for circle in within(tensor, ()):
            raise NetError(
                f"transforms make tensors of one another in a circle: {' of '.join(circle)}; let one of them read "
                "a tensor that no transform makes"
            )


def _check_made(index: ModuleIndex, tensor: str, writing: Sequence[Written]) -> None:
    """Refuse axes that together make a tensor that cannot be made, or of another shape than is said."""
    builder = CutBuilder()
    for axis, option in writing:
        axis.write(option, builder, index)
    cut = builder.finish(index)

    def without_data(name: str) -> torch.Tensor:
        return index.tensor(name).to("meta")

    said: object = None
    try:
        said = cut.shape(tensor, index.shapes[tensor])
        with torch.no_grad():
            try:
                shape = tuple(cut.part(tensor, without_data).shape)
            except Exception:  # it may look at values
                shape = tuple(cut.part(tensor, index.tensor).shape)
        reason = "" if shape == said else f"a tensor of {shape} is made, and {said} is said"
    except Exception as error:
        reason = format_error(error)
    if not reason:
        return
    names = [repr(axis.name) for axis, _ in writing]
    if len(names) == 1:
        raise NetError(f"axis {names[0]} cannot make {tensor} for {writing[0][1]!r}: {reason}")
    raise NetError(
        f"axes {' and '.join(names)} cannot live together on {tensor}: {reason}; cut what the transform reads as the "
        "tensor is cut (name it in the transform's alike=, or among the slices of a width), or drop one of the axes"
    )


@contextmanager
def checking(index: ModuleIndex, stand_ins: Mapping[str, frozenset[StandIn]]) -> Iterator[None]:
    """Refuse, while the network runs whole, what is computed in a module's place and has another shape."""

    def checks(path: str, passthrough: Passthrough) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            difference = unlike(passthrough, output, args, kwargs)
            if difference:
                raise NetError(f"nothing like {passthrough!r} can stand in for {path}: {difference}")

        return hook

    handles = [
        index.module(path).register_forward_hook(checks(path, other.passthrough), with_kwargs=True)
        for path, others in stand_ins.items()
        for other in others
        if isinstance(other, Instead) and not other.in_chain and not passes_on(other.passthrough)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
