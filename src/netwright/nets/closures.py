"""Copies of a network's hooks and other functions, which hold copies of what the originals hold.

``copy.deepcopy`` takes a function for a constant, so that the hooks of a copy would write into what the original reads.
What the code of classes reads (a global, a variable around a class) all instances have in common, and copies too.
"""

from __future__ import annotations

import copy
import sys
from collections import OrderedDict, deque
from types import CellType, FunctionType, MethodType
from typing import Any

import numpy as np
from torch import Tensor, nn

from .inputs import is_dense
from .reach import Reach, contents, global_names, is_foreign

CONTAINERS = (dict, list, set, deque, CellType, np.ndarray)


class Copier:
    """Makes deep copies of a network in which functions are copied too.

    Args:
        network: to copy.
        memo: what stands for what in the copy, by identity.
    """

    def __init__(self, network: nn.Module, memo: dict[int, Any]) -> None:
        self.network, self.memo = network, memo
        self._reach = Reach(network, common=False)
        self._globals: dict[int, dict[str, Any]] = {}
        self._original: list[tuple[FunctionType, FunctionType]] = []
        for tensor in (v for v in (self._reach.own | self._reach.held).values() if isinstance(v, Tensor)):
            if not tensor.is_leaf or not is_dense(tensor) or tensor.is_inference():
                memo.setdefault(id(tensor), tensor.detach().clone())  # deepcopy refuses or keeps what these hang on
        for at, value in self._reach.own.items():
            if type(value) in (OrderedDict, set) and not value and not getattr(value, "__dict__", None):
                memo.setdefault(at, type(value)())  # modules have many, and deepcopy would pickle each
        functions = [f for f in self._reach.functions() if not is_foreign(f) and self._is_copied(f)]
        if functions:
            self._reach = Reach(network)
            self._share()
            for function in functions:
                self._begin(function)

    def copy(self) -> nn.Module:
        """The copy. Raises what ``copy.deepcopy`` raises."""
        network = copy.deepcopy(self.network, self.memo)
        for function, twin in self._original:
            for cell, own in zip(function.__closure__ or (), twin.__closure__ or (), strict=True):
                if own is not cell and contents(cell) is not None:
                    own.cell_contents = self._copied(contents(cell))
            twin.__defaults__, twin.__kwdefaults__ = map(self._copied, (function.__defaults__, function.__kwdefaults__))
            twin.__dict__.update(self._copied(function.__dict__))
            for name in global_names(function):
                if self._is_ours(function.__globals__.get(name)):
                    twin.__globals__[name] = self._copied(function.__globals__[name])
        return network

    def _copied(self, value: Any) -> Any:
        try:
            return copy.deepcopy(value, self.memo)
        except Exception:  # a lock, a file: something outside, which all copies may have in common
            return value

    def _is_copied(self, function: FunctionType) -> bool:
        """Whether a function has a closure of its own, or uses by a global name what is the network's own."""
        return (bool(function.__closure__) and not _is_importable(function)) or self._uses_ours(function, set())

    def _uses_ours(self, function: FunctionType, seen: set[int]) -> bool:
        seen.add(id(function))
        used = [function.__globals__.get(name) for name in global_names(function)]
        return any(
            self._uses_ours(value, seen)
            if isinstance(value, FunctionType) and id(value) not in seen
            else self._is_ours(value)
            for value in used
        )

    def _is_ours(self, value: Any) -> bool:
        """Whether something that a global name stands for is copied with the network."""
        if isinstance(value, FunctionType):
            return id(value) in self.memo
        known = id(value) in self._reach.own or id(value) in self._reach.held
        plain = isinstance(value, (*CONTAINERS, Tensor)) or (hasattr(value, "__dict__") and not isinstance(value, type))
        return known and plain and not isinstance(value, MethodType) and self.memo.get(id(value)) is not value

    def _share(self) -> None:
        """What only closures hold, and the code of classes reads too, stays in common."""
        for at, value in self._reach.shared.items():
            if isinstance(value, CONTAINERS):
                self.memo.setdefault(at, value)

    def _begin(self, function: FunctionType) -> None:
        """Make a function's copy, without what it holds."""
        if id(function) in self.memo:
            return
        cells = [self.memo.setdefault(id(cell), CellType()) for cell in function.__closure__ or ()]
        uses = self._uses_ours(function, set())
        names = self._table(function.__globals__) if uses else function.__globals__
        twin = FunctionType(function.__code__, names, function.__name__, None, tuple(cells))
        twin.__module__, twin.__qualname__, twin.__doc__ = function.__module__, function.__qualname__, function.__doc__
        self.memo[id(function)] = twin
        self._original.append((function, twin))
        for value in [function.__globals__.get(name) for name in global_names(function)]:
            if uses and isinstance(value, FunctionType) and self._uses_ours(value, set()):
                self._begin(value)

    def _table(self, names: dict[str, Any]) -> dict[str, Any]:
        """The global names that copies of functions use instead of some others."""
        return self._globals.setdefault(id(names), dict(names))


def _is_importable(function: FunctionType) -> bool:
    """Whether a function is one that its module knows by its name."""
    found: Any = sys.modules.get(function.__module__)
    for name in function.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is function
