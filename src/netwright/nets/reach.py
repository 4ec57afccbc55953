"""What a network reaches when it runs, beside its tensors: attributes, hooks, closures, classes and globals.

Three regions, told apart because copies treat them differently. *Own* is what the attributes of the network's modules
lead to. *Held* is what only the closures of functions among these lead to. *Common* is what the code of classes leads
to (their attributes, globals and closures), which all instances of the classes have in common.
"""

from __future__ import annotations

import functools
import logging
import sys
import weakref
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import CellType, CodeType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from .inputs import ATOMS, slots_of

FOREIGN = {*sys.stdlib_module_names, "torch", "numpy", "netwright"} - {"__main__"}
"""Packages whose classes and functions keep nothing of a network's run."""

CLOSED = (ModuleType, CodeType, weakref.ref, logging.Logger, logging.Handler, torch.Size)
"""Types of objects that are not looked into."""


class Reach:
    """Every object that a network reaches, by identity (each is held on to, so that identities stay true).

    Args:
        network: where it begins.
        common: whether to look for what classes and globals lead to as well.
    """

    def __init__(self, network: nn.Module, common: bool = True) -> None:
        self.own: dict[int, Any] = {}
        self.held: dict[int, Any] = {}
        self.common: dict[int, Any] = {}
        self.globals: dict[tuple[int, str], dict[str, Any]] = {}
        """The tables of global names that functions use, by the table's identity and the name."""
        self.shared: dict[int, Any] = {}
        """What only closures hold and the code of classes reaches too, with all that it leads to."""
        _follow([network], self.own)
        inside = [part for function in _functions(self.own) for part in _closure(function)]
        _follow(inside, self.held, self.own, closures=True)
        if common:
            known = self.own | self.held
            met: set[int] = set()
            self._follow_common([], known, met)
            _follow([self.held[at] for at in met & self.held.keys()], self.shared, self.own, closures=True)
            self._follow_common(list(_functions(known)), known, set())

    def functions(self) -> Iterator[FunctionType]:
        """Those that the network's own attributes lead to."""
        return _functions(self.own | self.held)

    def classes(self) -> list[type]:
        """Of all objects, and what these are made of, but for the classes of Python and PyTorch."""
        kinds = {type(value): None for value in (*self.own.values(), *self.held.values(), *self.common.values())}
        return list(dict.fromkeys(base for kind in kinds for base in kind.__mro__ if not is_foreign(base)))

    def _follow_common(self, functions: list[FunctionType], known: dict[int, Any], met: set[int]) -> None:
        """Add what the code of the classes, and some functions, lead to."""
        done: set[int] = set()
        while True:
            waiting: list[Any] = []
            for kind in self.classes():
                if id(kind) not in done:
                    done.add(id(kind))
                    waiting += _attributes(kind)
            for function in functions:
                if id(function) not in done:
                    done.add(id(function))
                    for name in global_names(function):
                        self.globals[id(function.__globals__), name] = function.__globals__
                        waiting.append(function.__globals__.get(name))
            if not waiting:
                return
            _follow(waiting, self.common, known, closures=True, met=met)
            functions = list(_functions(self.common))


def global_names(function: FunctionType) -> Iterator[str]:
    """Names in a function's code that may be global.

    None of the code of installed packages, whose globals lead to thousands of objects (``transformers``).
    """
    if not is_foreign(function) and not _is_installed(_package(function)):
        codes = [function.__code__]
        for code in codes:
            yield from code.co_names
            codes += [const for const in code.co_consts if isinstance(const, CodeType)]


def directly(value: Any) -> Iterator[Any]:
    """The objects that one leads to, but for a function's closure and a class's code."""
    if type(value) is dict or (type(value) is OrderedDict and not vars(value)):  # most are
        yield from value.values()
        return
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, tuple | list | set | frozenset | deque):
        yield from value
    elif isinstance(value, MethodType):
        yield from (value.__self__, value.__func__)
    elif isinstance(value, functools.partial):
        yield from (value.func, value.args, value.keywords)
    elif isinstance(value, property):
        yield from (value.fget, value.fset)
    elif isinstance(value, staticmethod | classmethod):
        yield value.__func__
    elif isinstance(value, CellType):
        yield contents(value)
    if hasattr(value, "cache_info"):
        yield getattr(value, "__wrapped__", None)
    if not isinstance(value, type):
        if hasattr(value, "__dict__"):
            yield value.__dict__
        for name in slots_of(value):
            yield getattr(value, name, None)


def contents(cell: CellType) -> Any:
    """What a closure's variable is; None where it has no value yet."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _closure(function: FunctionType) -> Iterator[Any]:
    yield from function.__closure__ or ()
    yield from (function.__defaults__, function.__kwdefaults__)


def _attributes(kind: type) -> list[Any]:
    return [value for name, value in vars(kind).items() if name not in ("__dict__", "__weakref__", "__doc__")]


def _functions(objects: dict[int, Any]) -> Iterator[FunctionType]:
    return (value for value in list(objects.values()) if isinstance(value, FunctionType))


def is_foreign(thing: type | FunctionType) -> bool:
    """Whether it keeps nothing of a network's run."""
    return _package(thing) in FOREIGN


def _package(thing: type | FunctionType) -> str:
    return str(thing.__module__).partition(".")[0]


@functools.cache
def _is_installed(package: str) -> bool:
    """Whether a package lies where package managers put them."""
    module = sys.modules.get(package)
    places = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
    return any({"site-packages", "dist-packages"} & set(Path(place).parts) for place in places if place)


def _follow(
    waiting: list[Any],
    seen: dict[int, Any],
    known: Mapping[int, Any] = MappingProxyType({}),
    closures: bool = False,
    met: set[int] | None = None,
) -> None:
    """Add to ``seen`` all objects that those waiting lead to, and they themselves.

    Args:
        waiting: where to begin; used up.
        seen: the objects seen so far, by identity.
        known: others, which are not entered.
        closures: whether functions lead to what their closures hold.
        met: gets the known that were come upon.
    """
    while waiting:
        value = waiting.pop()
        if type(value) in ATOMS or id(value) in seen or isinstance(value, CLOSED):
            continue
        if id(value) in known:
            if met is not None:
                met.add(id(value))
            continue
        seen[id(value)] = value
        if isinstance(value, Tensor):
            continue
        if isinstance(value, FunctionType):
            if is_foreign(value):
                continue
            if closures:
                waiting += _closure(value)
        waiting += [part for part in directly(value) if type(part) not in ATOMS]  # most are: for speed
