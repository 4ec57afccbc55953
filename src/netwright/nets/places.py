"""Numbers that a module holds: in attributes, and in tuples, lists, dicts and objects (a config) in attributes.

A place is a dotted path from the module: ``num_heads``, ``config.n_head``, ``sizes.1``.
"""

from __future__ import annotations

import argparse
import copy
import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from torch import Tensor, nn

OWN = frozenset(vars(nn.Module()))
"""Attributes that every module has."""

DEPTH = 4
"""How deep in a module's attributes a number is looked for."""

NAMESPACES = (types.SimpleNamespace, argparse.Namespace)
"""The classes of Python's own that hold what a person puts into them."""

BREADTH = 256
"""Entries of one list, dict or object that are searched: what has more is data."""


class PlaceError(LookupError):
    """A module holds nothing at a place."""


def numbers(module: nn.Module) -> Iterator[tuple[str, int]]:
    """Every place of a module, or of its class, that holds a whole number, and the number."""
    yield from ((name, value) for name, value in _of_class(type(module)).items() if name not in vars(module))
    seen: set[int] = set()
    for name, value in list(vars(module).items()):
        if name not in OWN:
            yield from _within(name, value, 1, seen)


def is_number(value: Any) -> bool:
    """Whether something is a whole number, Python's or NumPy's, and no truth value."""
    return type(value) is int or isinstance(value, np.integer)


def number(module: nn.Module, place: str) -> Any:
    """What stands at a place. Raises :class:`PlaceError` where there is no such place."""
    held: Any = module
    for key in place.split("."):
        parts = dict(_parts(held))
        if key in parts:
            held = parts[key]
        elif held is module and key in _of_class(type(module)):
            held = _of_class(type(module))[key]
        else:
            raise PlaceError(place)
    return held


def replaced(module: nn.Module, values: Mapping[str, Any]) -> dict[str, Any]:
    """The module's attributes in which some places hold other values.

    What lies around a place is a copy: others who hold the same config keep it as it is.
    """
    found: dict[str, Any] = {}
    for place, value in values.items():
        own, *inner = place.split(".")
        found[own] = _with(found[own] if own in found else number(module, own), inner, value) if inner else value
    return found


def _within(place: str, value: Any, depth: int, seen: set[int]) -> Iterator[tuple[str, int]]:
    if is_number(value):
        yield place, value
    elif depth < DEPTH and id(value) not in seen:
        parts = _parts(value)
        if parts and len(parts) <= BREADTH:
            seen.add(id(value))
            for key, part in parts:
                yield from _within(f"{place}.{key}", part, depth + 1, seen)


def _parts(value: Any) -> list[tuple[str, Any]]:
    """The keys and parts of what has parts that can be replaced."""
    if isinstance(value, dict):
        return [(str(key), part) for key, part in value.items() if isinstance(key, str | int) and "." not in str(key)]
    if isinstance(value, tuple | list):
        return [(str(at), part) for at, part in enumerate(value)]
    if isinstance(value, nn.Module):
        return list(vars(value).items())
    if type(value) is type:
        return [] if _is_own(value) else list(_of_class(value).items())
    return [(name, getattr(value, name)) for name in _names(value)]


def _names(value: Any) -> list[str]:
    """The attributes of an object that may be a config: of a class that is neither Python's own nor a tensor's."""
    kind = type(value)
    if isinstance(value, Tensor | type) or (_is_own(kind) and not isinstance(value, NAMESPACES)):
        return []
    held = getattr(value, "__dict__", None)
    names = [*(held or ()), *_all_slots(kind), *(() if held is None else _of_class(kind))]
    return [name for name in dict.fromkeys(names) if isinstance(name, str) and hasattr(value, name)]


def _is_own(kind: type) -> bool:
    """Whether a class is Python's own."""
    return kind.__module__.partition(".")[0] in sys.stdlib_module_names


def _of_class(kind: type) -> dict[str, int]:
    """The numbers that stand in a class and in those that it derives from, but for PyTorch's and Python's own."""
    bases = [base for base in kind.__mro__ if base is not nn.Module and not _is_own(base)]
    return {
        name: value
        for base in reversed(bases)
        for name, value in vars(base).items()
        if is_number(value) and not name.startswith("__")
    }


def _all_slots(kind: type) -> list[str]:
    own = [vars(base).get("__slots__", ()) for base in kind.__mro__]
    return [name for names in own for name in ((names,) if isinstance(names, str) else names) if name[:2] != "__"]


def _with(held: Any, keys: list[str], value: Any) -> Any:
    """A copy of what is held, with another value at the end of the keys."""
    if not keys:
        return value
    key, *inner = keys
    if isinstance(held, tuple):
        parts = [_with(part, inner, value) if str(at) == key else part for at, part in enumerate(held)]
        return type(held)(*parts) if hasattr(held, "_fields") else type(held)(parts)
    if type(held) is type:  # the class itself is the config
        return type(held.__name__, (held,), {key: value, "__module__": held.__module__})
    changed = copy.copy(held)
    if isinstance(held, list):
        changed[int(key)] = _with(held[int(key)], inner, value)
        return changed
    if isinstance(held, dict):
        own = next(k for k in held if str(k) == key)
        changed[own] = part = _with(held[own], inner, value)
        if key in getattr(changed, "__dict__", ()):  # a dict whose entries are attributes too
            changed.__dict__[key] = part
        return changed
    part = _with(getattr(held, key), inner, value)
    if hasattr(changed, "__dict__") and key not in _all_slots(type(held)):
        changed.__dict__[key] = part  # past what a class does when an attribute is set (frozen, checked)
    else:
        object.__setattr__(changed, key, part)
    return changed
