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

from torch import Tensor, nn

OWN = frozenset(vars(nn.Module()))
"""Attributes that every module has."""

DEPTH = 4
"""How deep in a module's attributes a number is looked for."""

BREADTH = 256
"""Entries of one list, dict or object that are looked at: what has more is data."""


class PlaceError(LookupError):
    """A module holds nothing at a place."""


def numbers(module: nn.Module) -> Iterator[tuple[str, int]]:
    """Every place of a module, or of its class, that holds a whole number, and the number."""
    for kind in type(module).__mro__:
        if kind is nn.Module:
            break
        for name, value in vars(kind).items():
            if type(value) is int and name not in vars(module) and not name.startswith("__"):
                yield name, value
    seen: set[int] = set()
    for name, value in list(vars(module).items()):
        if name not in OWN:
            yield from _within(name, value, 1, seen)


def number(module: nn.Module, place: str) -> Any:
    """What stands at a place. Raises :class:`PlaceError` where there is no such place."""
    held: Any = module
    for key in place.split("."):
        parts = dict(_parts(held))
        if key in parts:
            held = parts[key]
        elif held is module and type(getattr(type(module), key, None)) is int:
            held = getattr(type(module), key)
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
    if type(value) is int:
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
    return [(name, getattr(value, name)) for name in _names(value)]


def _names(value: Any) -> list[str]:
    """The attributes of an object that may be a config: of a class that is neither Python's own nor a tensor's."""
    kind = type(value)
    if isinstance(value, Tensor | type | types.FunctionType | types.ModuleType):
        return []
    if kind.__module__.partition(".")[0] in sys.stdlib_module_names and not isinstance(
        value, types.SimpleNamespace | argparse.Namespace
    ):
        return []
    slots = [name for base in kind.__mro__ for name in _slots(base)]
    return [
        name for name in (*getattr(value, "__dict__", ()), *slots) if isinstance(name, str) and hasattr(value, name)
    ]


def _slots(kind: type) -> tuple[str, ...]:
    own = vars(kind).get("__slots__", ())
    return tuple(name for name in ((own,) if isinstance(own, str) else own) if not name.startswith("__"))


def _with(held: Any, keys: list[str], value: Any) -> Any:
    """A copy of what is held, with another value at the end of the keys."""
    if not keys:
        return value
    key, *inner = keys
    if isinstance(held, tuple):
        parts = [_with(part, inner, value) if str(at) == key else part for at, part in enumerate(held)]
        return type(held)(*parts) if hasattr(held, "_fields") else type(held)(parts)
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
    if key in getattr(changed, "__dict__", ()):
        changed.__dict__[key] = part  # past what a class does when an attribute is set (frozen, checked)
    else:
        object.__setattr__(changed, key, part)
    return changed
