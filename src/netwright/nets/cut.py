"""The cut: what a candidate means to the tensors, and the one way in which it is applied to a live module."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..core.errors import NetError
from .layers import Shape, attributes, echoes
from .menu import Menu
from .places import PlaceError, number, replaced
from .stand_ins import Around, Instead, Passthrough, StandIn, checked
from .stand_ins import made as stand_in_made
from .transforms import KINDS, Stored, Transform, Transforms, in_order, says_how_it_is_stored, transformed

Ranges = tuple[tuple[int, int], ...]
"""Half-open, ascending, disjoint ranges of indices that stay."""


STORED = "stored_tensors"
"""The attribute of an extracted network that says how tensors are stored, by their names, where a transform says so."""


@dataclass(frozen=True)
class Cut:
    """One sub-network, as changes to the whole network.

    Args:
        keep: per tensor (its name in the state dict) and dimension, the ranges of indices that stay.
        replace: modules in whose place something else runs, and what.
        choose: per menu, the option that runs; None for all of them, to be looked at.
        set: per module, places (an attribute, or what a config in one holds: :mod:`.places`) that take another value.
        transforms: per tensor, what is made of the indices that stay, step by step.
        auxiliary: tensors that serve only to make others: no sub-network holds them.
    """

    keep: Mapping[str, Mapping[int, Ranges]] = field(default_factory=dict)
    replace: Mapping[str, StandIn] = field(default_factory=dict)
    choose: Mapping[str, str | None] = field(default_factory=dict)
    set: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    transforms: Transforms = field(default_factory=dict)
    auxiliary: frozenset[str] = frozenset()

    def shape(self, tensor: str, whole: Shape) -> Shape:
        """The shape that is left of a tensor of shape ``whole``."""
        shape = self._kept_shape(tensor, whole)
        for transform in self.transforms.get(tensor, ()):
            shape = transform.shape(shape)
        return shape

    def stored(self, index: ModuleIndex) -> dict[str, Stored]:
        """How tensors are stored of which something says so: a transform, or the network that they come from."""
        found: dict[str, Stored] = {}
        for tensor in (*index.stored, *(t for t in self.transforms if t not in index.stored)):
            chain = self.transforms.get(tensor, ())
            if tensor in self.auxiliary or all(self.skips(owner) for owner in index.owners[tensor]):
                continue
            if tensor in index.stored or any(map(says_how_it_is_stored, chain)):
                held = index.stored_whole(tensor)
                held = held.of_shape(self._kept_shape(tensor, held.shape))
                for transform in chain:
                    held = transform.stored(held)
                found[tensor] = held
        return found

    def _kept_shape(self, tensor: str, whole: Shape) -> Shape:
        kept = self.keep.get(tensor, {})
        return tuple(sum(b - a for a, b in kept[d]) if d in kept else n for d, n in enumerate(whole))

    def skips(self, path: str) -> bool:
        """Whether the module at ``path``, or one around it, does not run."""
        place = ""
        for own in path.split(".") if path else ():
            if (self.choose.get(place) or own) != own:
                return True
            place = f"{place}.{own}" if place else own
            if isinstance(self.replace.get(place), Instead):
                return True
        return False

    def part(self, tensor: str, whole_of: Callable[[str], Tensor]) -> Tensor:
        """What is left of a tensor: a view where every dimension keeps one range, else a differentiable copy.

        Args:
            tensor: its name.
            whole_of: finds whole tensors by name.
        """
        dims = self.keep.get(tensor, {})
        whole = whole_of(tensor)
        kept = _kept(whole, dims)
        chain = self.transforms.get(tensor)
        if chain is None:
            return kept

        def as_kept(name: str) -> Tensor:
            other = whole_of(name)
            return _kept(other, {d: some for d, some in dims.items() if other.shape[d] == whole.shape[d]})

        return transformed(chain, kept, lambda name: self.part(name, whole_of), as_kept)


def _kept(whole: Tensor, dims: Mapping[int, Ranges]) -> Tensor:
    for dim, ranges in dims.items():
        if len(ranges) == 1:
            start, stop = ranges[0]
            whole = whole.narrow(dim, start, stop - start)
        else:
            whole = torch.cat([whole.narrow(dim, a, b - a) for a, b in ranges], dim)
    return whole


class CutBuilder:
    """A cut in the making. Axes write what goes; :meth:`finish` works out what stays."""

    def __init__(self) -> None:
        self._gone: dict[tuple[str, int], list[tuple[int, int]]] = {}
        self._replace: dict[str, StandIn] = {}
        self._choose: dict[str, str | None] = {}
        self._set: dict[str, dict[str, Any]] = {}
        self._less: dict[tuple[str, str], int] = {}
        self._transforms: dict[str, dict[str, Transform]] = {}
        self._auxiliary: set[str] = set()

    def drop(self, tensor: str, dim: int, start: int, stop: int) -> None:
        """Indices ``start`` to ``stop`` (exclusive) of a dimension go."""
        if stop > start:
            self._gone.setdefault((tensor, dim), []).append((start, stop))

    def dropped(self) -> Iterator[tuple[str, int, int, int]]:
        """Tensor, dimension, first index and end index of all that goes."""
        for (tensor, dim), gone in self._gone.items():
            for start, stop in gone:
                yield tensor, dim, start, stop

    def skip(self, module: str, passthrough: Passthrough = 0) -> None:
        """The module passes its input through: its first argument, or what ``passthrough`` says."""
        self.replace(module, Instead(passthrough))

    def replace(self, module: str, stand_in: StandIn) -> None:
        """Something else runs in the place of the module."""
        if self._replace.setdefault(module, checked(stand_in, module)) != stand_in:
            raise NetError(f"{module} has two stand-ins, {self._replace[module]} and {stand_in}; make one of them")

    def choose(self, menu: str, option: str) -> None:
        """Of the modules of a menu, this one runs."""
        if self._choose.setdefault(menu, option) != option:
            raise NetError(f"of the menu at {menu} two options are chosen, {self._choose[menu]!r} and {option!r}")

    def set(self, module: str, place: str, value: Any) -> None:
        """The module's attribute, or another place (:mod:`.places`), takes another value."""
        self._set.setdefault(module, {})[place] = value

    def less(self, module: str, place: str, by: int) -> None:
        """The number at a place of the module becomes smaller; what several axes take off adds up."""
        self._less[module, place] = self._less.get((module, place), 0) + by

    def transform(self, tensor: str, transform: Transform) -> None:
        """The tensor is what the transform makes of the indices that stay, after those of earlier kinds."""
        if not isinstance(transform, Transform) or getattr(transform, "kind", None) not in KINDS:
            raise NetError(
                f"{transform!r} cannot make {tensor}: a transform derives from netwright.nets.transforms.Transform and "
                f"has a kind of {', '.join(KINDS)}"
            )
        unread = next((name for name in transform.alike if name not in transform.reads), None)
        if unread is not None:
            raise NetError(f"{transform!r} has {unread!r} in alike= and not in reads=; list it in both")
        if self._transforms.setdefault(tensor, {}).setdefault(transform.kind, transform) is not transform:
            raise NetError(f"{tensor} has two transforms of the kind {transform.kind!r}; make one of them")

    def written(self) -> Iterator[tuple[str, str, Transform]]:
        """Tensor, kind and transform of all that is made."""
        for tensor, kinds in self._transforms.items():
            for kind, transform in kinds.items():
                yield tensor, kind, transform

    def replaced(self) -> Iterator[tuple[str, StandIn]]:
        """Module and stand-in of all that is replaced."""
        yield from self._replace.items()

    def chosen(self) -> Iterator[str]:
        """All menus of which an option is chosen."""
        yield from self._choose

    def places(self) -> Iterator[tuple[str, str, str]]:
        """Module, place, and whether it is given a value ("set") or a smaller number ("less")."""
        yield from ((path, place, "set") for path, values in self._set.items() for place in values)
        yield from ((path, place, "less") for path, place in self._less)

    def auxiliary(self, tensor: str) -> None:
        """The tensor serves only to make others: no sub-network holds it."""
        self._auxiliary.add(tensor)

    def finish(self, index: ModuleIndex) -> Cut:
        """The cut, with the attributes that follow from the shapes that stay."""
        keep: dict[str, dict[int, Ranges]] = {}
        transforms = {tensor: in_order(kinds.values()) for tensor, kinds in self._transforms.items()}
        read = (name for chain in transforms.values() for transform in chain for name in transform.reads)
        for tensor in (*(t for t, _ in self._gone), *transforms, *read):
            if tensor not in index.shapes:
                raise NetError(f"the network has no tensor {tensor!r} that a cut could change")
        for (tensor, dim), gone in self._gone.items():
            if not 0 <= dim < len(index.shapes[tensor]):
                raise NetError(f"{tensor} has no dimension {dim}: its shape is {index.shapes[tensor]}")
            keep.setdefault(tensor, {})[dim] = _rest(gone, index.shapes[tensor][dim])
        choose = {place: option for menu, option in self._choose.items() for place in index.twins(menu)}
        cut = Cut(keep, self._replace, choose, {}, transforms, frozenset(self._auxiliary))
        for menu, option in self._choose.items():
            if option not in index.menu(menu).options:
                raise NetError(f"the menu at {menu} has no option {option!r}; it has {list(index.menu(menu).options)}")
        for path, other in self._replace.items():
            for each in (path, other.before, other.after) if isinstance(other, Around) else (path,):
                if each is not None:
                    index.module(each)
        changes: dict[str, dict[str, Any]] = {}
        owners = {owner for tensor in (*keep, *transforms) for owner in index.owners[tensor]}
        for path in {path.partition(".parametrizations.")[0] for path in owners}:
            tensors = index.tensors_of.get(path, {}) | index.made_of(path)
            shapes = {own: cut.shape(name, index.shapes[name]) for own, name in tensors.items()}
            found = attributes(index.modules[path], shapes)
            if found:
                changes[path] = found
        for path, values in self._set.items():
            for place in values:
                index.number(path, place)
            changes.setdefault(path, {}).update(values)
        for (path, place), by in self._less.items():
            whole = index.number(path, place)
            changes.setdefault(path, {})[place] = type(whole)(whole - by)
        return replace(cut, set=changes)


class ModuleIndex:
    """The parts of a module by name: looked up once, used by every cut.

    Raises :class:`NetError` for what is no module, or one whose parts cannot be cut.
    """

    def __init__(self, module: nn.Module) -> None:
        if not isinstance(module, nn.Module):
            given = f"the class {module.__name__}" if isinstance(module, type) else f"a {type(module).__name__}"
            raise NetError(f"a network is a torch.nn.Module, not {given}; give the module itself")
        self.root = module
        self.modules: dict[str, nn.Module] = dict(module.named_modules(remove_duplicate=False))  # shared: several paths
        self.shapes: dict[str, Shape] = {}
        self.parameters: dict[str, int] = {}  # name -> bytes of an element
        self.owners: dict[str, list[str]] = {}
        self.tensors_of: dict[str, dict[str, str]] = {}
        self.slots: dict[str, list[tuple[dict[str, Any], str]]] = {}
        names: dict[int, str] = {}  # tied tensors have one name, the first
        for path, owner in self.modules.items():
            if isinstance(owner, torch.jit.ScriptModule):
                raise NetError(
                    f"{path or 'the network'} is compiled by TorchScript, which cannot be cut; give the Python module "
                    "that it was made of"
                )
            for table in (owner._parameters, owner._buffers):
                for own, tensor in table.items():
                    if tensor is None:
                        continue
                    if is_lazy(tensor):
                        raise NetError(
                            f"{path or 'the network'} is lazy and {own} has no shape yet; call the network once on its "
                            "example inputs first"
                        )
                    name = names.setdefault(id(tensor), f"{path}.{own}" if path else own)
                    self.shapes[name] = tuple(tensor.shape)
                    self.owners.setdefault(name, []).append(path)
                    self.tensors_of.setdefault(path, {})[own] = name
                    slots = self.slots.setdefault(name, [])
                    if not any(t is table and o == own for t, o in slots):
                        slots.append((table, own))
                    if table is owner._parameters:
                        self.parameters[name] = tensor.element_size()
        given = vars(module).get(STORED)
        self.stored: dict[str, Stored] = {
            name: stored
            for name, stored in (given.items() if isinstance(given, dict) else ())
            if isinstance(stored, Stored) and self.shapes.get(name) == stored.shape
        }

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.root,)  # modules are told apart by where they lie in memory

    def tensor(self, name: str) -> Tensor:
        """The whole tensor."""
        table, own = self.slots[name][0]
        return table[own]

    def stored_whole(self, name: str) -> Stored:
        """How the whole tensor is stored."""
        shape = self.shapes[name]
        return self.stored.get(name) or Stored(shape, prod(shape), self.tensor(name).element_size() * 8)

    def made_of(self, path: str) -> dict[str, str]:
        """What a layer makes its tensors of before it runs (weight norms, spectral norms, masks of pruning, old and
        new parametrisations): for each, that of its shape."""
        found: dict[str, str] = {}
        own = self.tensors_of.get(path, {})
        for name, value in vars(self.modules[path]).items():
            if isinstance(value, Tensor):
                parts = [t for o, t in own.items() if o.startswith(name + "_") and self.shapes[t] == value.shape]
                if parts:
                    found[name] = parts[0]
        for name in getattr(self.modules[path], "parametrizations", ()):
            inner = self.tensors_of[f"{path}.parametrizations.{name}".removeprefix(".")]
            same = inner.get("original1") or inner.get("original")
            if same:
                found[name] = same
        return found

    def number(self, path: str, place: str) -> Any:
        """What stands at a place of a module; see :mod:`.places`."""
        try:
            return number(self.module(path), place)
        except PlaceError as error:
            raise NetError(f"{path or 'the network'} has no attribute {place!r} that a cut could change") from error

    def parent(self, path: str) -> tuple[nn.Module, str]:
        """The module that holds the one at ``path``, and its name there."""
        head, _, tail = path.rpartition(".")
        return self.modules[head], tail

    def menu(self, path: str) -> Menu:
        """The menu at ``path``; a clear error where there is none."""
        found = self.module(path)
        if not isinstance(found, Menu):
            raise NetError(
                f"{path or 'the network'} is a {type(found).__name__} and no menu; netwright.oneof makes one"
            )
        return found

    @cached_property
    def menus(self) -> dict[str, Menu]:
        """The menus by their paths, each once."""
        found = {path: module for path, module in self.modules.items() if isinstance(module, Menu)}
        return {path: menu for path, menu in found.items() if self.twins(path)[0] == path}

    def twins(self, path: str) -> list[str]:
        """All paths of the module at ``path``: of most there is one."""
        return self._paths[id(self.module(path))]

    @cached_property
    def _paths(self) -> dict[int, list[str]]:
        found: dict[int, list[str]] = {}
        for path, module in self.modules.items():
            found.setdefault(id(module), []).append(path)
        return found

    def module(self, path: str) -> nn.Module:
        """The module at ``path``; a clear error where there is none."""
        if path not in self.modules:
            raise NetError(f"the network has no module {path!r}; named_modules() lists what it has")
        return self.modules[path]


@contextmanager
def applied(index: ModuleIndex, cut: Cut) -> Iterator[nn.Module]:
    """The live module as the sub-network: slices of the whole tensors in its slots until the block is left.

    Gradients of the slices reach the whole parameters. Buffers that are views (one range per dimension) are
    updated in place; others, and those that the module replaced, are written back when the block is left.
    """
    undo: list[tuple[dict[str, Any], str, Any]] = []
    absent = object()
    buffers: list[tuple[str, Tensor, Tensor]] = []
    changed = dict.fromkeys((*cut.keep, *cut.transforms))
    parts = {name: cut.part(name, index.tensor) for name in changed}

    def put(table: dict[str, Any], own: str, value: Any) -> None:
        undo.append((table, own, table.get(own, absent)))  # a number of the class is not the module's own
        table[own] = value

    try:
        for name, part in parts.items():
            if name not in index.parameters and name not in cut.transforms:  # what was made cannot be written back
                buffers.append((name, index.tensor(name), part))
            for table, own in index.slots[name]:
                put(table, own, part)
        for path, other in cut.replace.items():
            parent, own = index.parent(path)
            put(parent._modules, own, stand_in_made(other, index.modules[path], index.module))
        for path, option in cut.choose.items():
            put(vars(index.modules[path]), "chosen", option)
            put(vars(index.modules[path]), "place", path)
        for path, values in cut.set.items():
            for own, value in replaced(index.modules[path], values).items():
                put(index.modules[path].__dict__, own, value)
        for path in dict.fromkeys(owner for name in changed for owner in index.owners[name]):
            module = index.modules[path]
            made = {own: vars(module)[own] for own in index.made_of(path) if own in vars(module)}  # made anew inside
            for own, value in (echoes(module) | made).items():
                put(vars(module), own, value)
        yield index.root
    finally:
        now = {name: index.tensor(name) for name, *_ in buffers}
        for table, own, before in reversed(undo):
            if before is absent:
                del table[own]
            else:
                table[own] = before
        for name, whole, part in buffers:
            copied = any(len(ranges) > 1 for ranges in cut.keep[name].values())
            if (copied or now[name] is not part) and now[name] is not None and now[name].shape == part.shape:
                with torch.no_grad():
                    _write_back(whole, now[name], cut.keep[name])


def _write_back(whole: Tensor, part: Tensor, dims: Mapping[int, Ranges]) -> None:
    index = [torch.arange(n) for n in whole.shape]
    for dim, ranges in dims.items():
        index[dim] = torch.cat([torch.arange(a, b) for a, b in ranges])
    whole[torch.meshgrid(*index, indexing="ij")] = part


def _rest(gone: list[tuple[int, int]], size: int) -> Ranges:
    """The ranges of 0..size that are not gone."""
    rest: list[tuple[int, int]] = []
    at = 0
    for start, stop in sorted(gone):
        if start > at:
            rest.append((at, start))
        at = max(at, stop)
    if at < size:
        rest.append((at, size))
    return tuple(rest)
