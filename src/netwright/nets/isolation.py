"""Isolation: whatever a run of a person's network changes is put back.

Buffers, plain attributes, what hooks and closures write into, counters of classes and globals, caches, and random
generators. There is one isolation for all runs that netwright makes for its own purposes.
"""

from __future__ import annotations

import random
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from operator import is_
from types import CellType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .inputs import Inputs, call, entries, fresh, is_dense, put, shape_of, slots_of, tensors_in
from .reach import Reach, contents, is_foreign

MISSING: Any = object()


@contextmanager
def isolated(network: nn.Module) -> Iterator[nn.Module]:
    """Whatever runs of the network change while the block lasts is as it was when it is left.

    Args:
        network: the network whose parameters and buffers are kept too, each in a copy. Where it is a sub-network that
            is active, this block lies inside that one.
    """
    with State(network).kept():
        yield network


def outputs_of(network: nn.Module, inputs: Inputs) -> list[Tensor]:
    """All tensors that the network gives for its inputs, in order, as copies; neither it nor the inputs change."""
    with isolated(network), torch.no_grad():
        return [t.detach().clone() for t in tensors_in(call(network, fresh(inputs)))]


class State:
    """Everything that running a network may change, found once, to be kept over many runs.

    Args:
        network: the network whose modules, hooks and attributes are those that it has now.
    """

    def __init__(self, network: nn.Module) -> None:
        self.reach = reach = Reach(network)
        self._tables: list[Callable[[], None]] = []
        self._empty: list[dict[Any, Any]] = []  # most are
        self._mappings: list[tuple[dict[Any, Any], tuple[Any, ...], tuple[Any, ...]]] = []
        self._tensors: list[Tensor] = []
        self._others: list[Any] = []
        for value in (*reach.own.values(), *reach.held.values(), *reach.common.values()):
            if isinstance(value, Tensor):
                if not value.is_meta:
                    self._tensors.append(value)
            elif isinstance(value, np.ndarray | torch.Generator | random.Random) or _numpy_generator(value):
                self._others.append(value)
            elif isinstance(value, dict):
                keys = tuple(dict.keys(value))
                if keys:
                    self._mappings.append((value, keys, tuple(dict.values(value))))
                else:
                    self._empty.append(value)
            elif isinstance(value, list | set | deque | CellType):
                self._tables.append(_table(value))
            elif not isinstance(value, type):
                if hasattr(value, "cache_info"):
                    self._tables.append(_cache(value))
                names = list(slots_of(value))
                if names:
                    self._tables.append(_attributes(value, {n: getattr(value, n, MISSING) for n in names}))
        named = [value for value in reach.common.values() if isinstance(value, type) and not is_foreign(value)]
        for kind in dict.fromkeys((*reach.classes(), *named)):
            self._tables.append(_class(kind))
        for (_, name), table in reach.globals.items():
            self._tables.append(_global(table, name))
        self._silent: list[int] | None = None

    def kept_tensors(self) -> set[int]:
        """The identities of all tensors that the network keeps between its calls."""
        reach = self.reach
        return {at for part in (reach.own, reach.held, reach.common) for at, v in part.items() if isinstance(v, Tensor)}

    @contextmanager
    def kept(self) -> Iterator[None]:
        """What runs change is put back when the block is left.

        The first block finds out which parameters change without PyTorch's noticing it (by ``.data``), and takes
        longer. Those that do not change in it are taken to stay as they are in later ones.
        """
        with torch.inference_mode(False), torch.no_grad():
            saved = [(_version(tensor), tensor.detach().clone()) for tensor in self._tensors]
        others = [_get(value) for value in self._others]
        drawn = draws()
        try:
            yield
        finally:
            for mapping in filter(len, self._empty):
                _refill(mapping, (), ())
            for mapping, keys, values in self._mappings:
                if len(mapping) != len(keys) or not all(map(is_, dict.values(mapping), values)):
                    _refill(mapping, keys, values)
            for put_back in self._tables:
                put_back()
            first = self._silent is None
            checked = range(len(saved)) if self._silent is None else self._silent
            noticed = {at for at, tensor in enumerate(self._tensors) if _version(tensor) != saved[at][0]}
            silent = {at for at in checked if at not in noticed and not _equal(self._tensors[at], saved[at][1])}
            changed = noticed | silent
            for at in changed:
                _restore(self._tensors[at], saved[at][1])
            if first:
                at_work = [at for at, t in enumerate(self._tensors) if at in changed or not isinstance(t, nn.Parameter)]
                # A batch norm changes its statistics silently, and in training mode only.
                alone = [at in silent or not isinstance(self._tensors[at], nn.Parameter) for at in at_work]
                self._silent = [i for i, yes in enumerate(alone) if yes]
                self._tensors = [self._tensors[at] for at in at_work]
            for value, before in zip(self._others, others, strict=True):
                _set(value, before)
            draw_on(drawn)


# -- tables ----------------------------------------------------------------------------------------------------


def _table(value: Any) -> Callable[[], None]:
    """Puts back what a container holds, if it holds other objects by then."""
    if isinstance(value, CellType):
        inside = contents(value)

        def cell() -> None:
            if contents(value) is not inside:
                value.cell_contents = inside

        return cell
    parts = tuple(value)

    def sequence() -> None:
        if not _alike(value, parts):
            value.clear()
            (value.update if isinstance(value, set) else value.extend)(parts)

    return sequence


def _refill(mapping: dict[Any, Any], keys: tuple[Any, ...], values: tuple[Any, ...]) -> None:
    """Put back what a dict holds, whatever its class makes of changes."""
    kind = OrderedDict if isinstance(mapping, OrderedDict) else dict
    kind.clear(mapping)
    for key, value in zip(keys, values, strict=True):
        kind.__setitem__(mapping, key, value)


def _alike(now: Collection[Any], before: tuple[Any, ...]) -> bool:
    """Whether they are the same objects in the same order."""
    return len(now) == len(before) and all(map(is_, now, before))


def _attributes(value: Any, before: dict[str, Any]) -> Callable[[], None]:
    def put_back() -> None:
        for name, part in before.items():
            if getattr(value, name, MISSING) is not part:
                object.__delattr__(value, name) if part is MISSING else object.__setattr__(value, name, part)

    return put_back


def _class(kind: type) -> Callable[[], None]:
    before = dict(vars(kind))
    values = tuple(before.values())

    def put_back() -> None:
        now = vars(kind)
        if _alike(now.values(), values):
            return
        for name in [n for n in {**now, **before} if now.get(n, MISSING) is not before.get(n, MISSING)]:
            type.__setattr__(kind, name, before[name]) if name in before else type.__delattr__(kind, name)

    return put_back


def _global(table: dict[str, Any], name: str) -> Callable[[], None]:
    before = table.get(name, MISSING)

    def put_back() -> None:
        if table.get(name, MISSING) is not before:
            if before is MISSING:
                del table[name]
            else:
                table[name] = before

    return put_back


def _cache(function: Any) -> Callable[[], None]:
    """Empties a function's cache where something has come in: what is asked for again is computed again."""
    before = function.cache_info().misses

    def put_back() -> None:
        if function.cache_info().misses != before:
            function.cache_clear()

    return put_back


# -- numbers ---------------------------------------------------------------------------------------------------


def _version(tensor: Tensor) -> tuple[int, int]:
    """Another one after a change that PyTorch notices."""
    return (-1 if tensor.is_inference() else tensor._version), (tensor.data_ptr() if is_dense(tensor) else 0)


def _equal(tensor: Tensor, saved: Tensor) -> bool:
    if tensor.dtype != saved.dtype or tensor.is_nested != saved.is_nested:
        return False
    if is_dense(tensor) and is_dense(saved):
        return torch.equal(tensor, saved)  # which compares the shapes too
    return tensor.is_nested and shape_of(tensor) == shape_of(saved) and torch.equal(entries(tensor), entries(saved))


def _restore(tensor: Tensor, saved: Tensor) -> None:
    with torch.inference_mode(tensor.is_inference()), torch.no_grad():
        if shape_of(tensor) != shape_of(saved) or tensor.dtype != saved.dtype or tensor.device != saved.device:
            tensor.data = saved
        else:
            put(tensor, saved)


def _numpy_generator(value: Any) -> bool:
    return isinstance(value, np.random.Generator | np.random.RandomState)


def _get(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, torch.Generator | np.random.RandomState):
        return value.get_state()
    return value.bit_generator.state if isinstance(value, np.random.Generator) else value.getstate()


def _set(value: Any, before: Any) -> None:
    if isinstance(value, np.ndarray):
        if value.flags.writeable:
            value[...] = before
    elif isinstance(value, torch.Generator | np.random.RandomState):
        value.set_state(before)
    elif isinstance(value, np.random.Generator):
        value.bit_generator.state = before
    else:
        value.setstate(before)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """The generators of PyTorch, NumPy and Python from a seed; afterwards as they were."""
    before = draws()
    seed_all(seed)
    try:
        yield
    finally:
        draw_on(before)


def seed_all(seed: int) -> None:
    """Set the generators of PyTorch, NumPy and Python."""
    seed = int(seed)  # Python's own generator takes none of NumPy's
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def draws() -> tuple[Any, ...]:
    """Where the generators of PyTorch, NumPy and Python are."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    return torch.get_rng_state(), cuda, np.random.get_state(), random.getstate()


def draw_on(drawn: tuple[Any, ...]) -> None:
    """Have the generators go on from there, see :func:`draws`."""
    torch.set_rng_state(drawn[0])
    if drawn[1] is not None:
        torch.cuda.set_rng_state_all(drawn[1])
    np.random.set_state(drawn[2])
    random.setstate(drawn[3])
