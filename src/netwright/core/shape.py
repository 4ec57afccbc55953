"""What a value of a file must be, said as a type, and checked once: where it is read.

A kind is written as a field of a dataclass is annotated::

    found = expect(read_json(path), {"rows": dict[str, Row], "format": int, "note": str | None}, str(path))

* ``int``, ``str``, ``bool``, ``None``; ``float``, which is a finite number, whole or not; ``Any``;
* ``list[K]``, ``tuple[K, ...]``, ``tuple[K, L]`` and ``Sequence[K]``: a list of JSON, and of the type that is said;
* ``dict[str, K]`` and ``Mapping[str, K]``: an object with any keys;
* ``{"key": K, ...}``: an object with at least these keys; one whose kind takes ``None`` may be left out;
* ``{str: K}`` and ``[K]``: as ``dict[str, K]`` and ``list[K]``, where K is one of these objects; the keys may have
  rules too, as in ``{FileName: K}``;
* a dataclass: an object with its fields, which becomes one; by its ``from_json`` where it has one;
* ``Literal``, a union; ``Annotated[K, Rule(...)]`` for what a type does not say.
"""

from __future__ import annotations

import math
import os
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from .errors import NetwrightError, ShapeError

MOST_TOLD = 40
"""Letters of a wrong value that a message shows."""


@dataclass(frozen=True)
class Rule:
    """What must hold of a value besides its type.

    Args:
        words: what the value must be, such as ``"more than 0"``.
        holds: tells of a value of the type.
    """

    words: str
    holds: Callable[[Any], bool]


Count = Annotated[int, Rule("0 or more, and less than 2^63", lambda value: 0 <= value < 1 << 63)]
"""How many of something there are."""
NotNegative = Annotated[float, Rule("0 or more", lambda value: value >= 0)]
Positive = Annotated[float, Rule("more than 0", lambda value: value > 0)]


def _is_file_name(name: str) -> bool:
    try:
        length = len(os.fsencode(name))
    except UnicodeEncodeError:
        return False
    return name not in ("", ".", "..") and not {"/", "\\", "\0"} & set(name) and length <= 255


FileName = Annotated[str, Rule("the name of a file in its directory", _is_file_name)]
"""Leads nowhere else: neither a path nor a name that no file can have."""
FilePath = Annotated[
    str, Rule("the path of a file within its directory", lambda path: all(map(_is_file_name, path.split("/"))))
]
"""Names of directories and of a file, with ``/`` between them."""


def expect(value: Any, kind: Any, where: str = "") -> Any:
    """The value as what it must be: lists become tuples and objects dataclasses where the kind says so.

    Args:
        value: of JSON, YAML or the like.
        kind: see this module's docstring.
        where: what it was read from, for the message.

    Raises :class:`ShapeError` that names the place in the value, what must be there, and what is.
    """
    try:
        return _expect(value, kind)
    except ShapeError as error:
        raise (ShapeError(error.problem, error.path, where) if where else error) from None


def told(value: Any) -> str:
    """A value as a message shows it: of any size, on one line."""
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case int() if value.bit_length() > 200:
            return "a number of more than 60 digits"
        case str() | int() | float():
            text = repr(value[: MOST_TOLD + 1] if isinstance(value, str) else value)
            return text if len(text) <= MOST_TOLD + 2 else f"{text[:MOST_TOLD]}..."
        case Mapping():
            return "an object {...}"
        case list() | tuple():
            return "a list [...]"
        case _:
            return f"a {type(value).__name__}"


@contextmanager
def _at(place: str) -> Iterator[None]:
    """Say of what is wrong within the block where it is."""
    try:
        yield
    except ShapeError as error:
        raise ShapeError(error.problem, (place, *error.path), error.where) from None


def _expect(value: Any, kind: Any) -> Any:
    if isinstance(kind, dict):
        ((key, inside),) = kind.items() if len(kind) == 1 else [("", None)]
        return _keys(value, kind) if isinstance(key, str) else _mapping(value, inside, key)
    if isinstance(kind, list):
        return _items(value, list, kind)
    plain = _PLAIN.get(kind) if isinstance(kind, type) else None
    if plain is not None:
        if not plain.holds(value):
            raise _wrong(plain.words, value)
        return value
    origin, parts = get_origin(kind) or kind, get_args(kind)
    if kind is Any:
        return value
    if origin is Annotated:
        return _ruled(value, *parts)
    if origin in (Union, types.UnionType):
        return _one_of(value, parts)
    if origin is Literal:
        if any(type(value) is type(part) and value == part for part in parts):
            return value
        raise _wrong(f"one of {', '.join(map(repr, parts))}", value)
    if isinstance(origin, type) and is_dataclass(origin):
        return _made(value, origin)
    if origin in (list, tuple, Sequence):
        return _items(value, origin, parts)
    if origin in (dict, Mapping):
        return _mapping(value, parts[1] if parts else Any)
    raise TypeError(f"a value of a file cannot be {kind!r}")


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


_PLAIN: dict[Any, Rule] = {
    float: Rule("a finite number", _is_number),
    int: Rule("a whole number", lambda value: isinstance(value, int) and not isinstance(value, bool)),
    str: Rule("a text", lambda value: isinstance(value, str)),
    bool: Rule("true or false", lambda value: isinstance(value, bool)),
    type(None): Rule("null", lambda value: value is None),
}


def _wrong(words: str, value: Any) -> ShapeError:
    return ShapeError(f"must be {words}, not {told(value)}")


def _keys(value: Any, kinds: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong("an object {...}", value)
    found = dict(value)
    for key, kind in kinds.items():
        with _at(f".{key}"):
            if key in value or not _takes_none(kind):
                found[key] = _expect(_of(value, key), kind)
            else:
                found[key] = None
    return found


def _takes_none(kind: Any) -> bool:
    return not isinstance(kind, dict) and type(None) in get_args(kind)


def _of(value: Mapping[str, Any], key: str) -> Any:
    if key not in value:
        raise ShapeError("is missing")
    return value[key]


def _ruled(value: Any, kind: Any, *rules: Rule) -> Any:
    found = _expect(value, kind)
    for rule in rules:
        if not rule.holds(found):
            raise _wrong(rule.words, value)
    return found


def _one_of(value: Any, kinds: Sequence[Any]) -> Any:
    if value is None and type(None) in kinds:
        return None
    some, mistake = [kind for kind in kinds if kind is not type(None)], _wrong("null", value)
    for kind in some:
        try:
            return _expect(value, kind)
        except ShapeError as error:
            mistake = error
    if all(isinstance(kind, type) and kind in _PLAIN for kind in some):
        mistake = _wrong(" or ".join(_PLAIN[kind].words for kind in some), value)
    raise mistake


def _items(value: Any, origin: Any, parts: Sequence[Any]) -> Any:
    if not isinstance(value, list | tuple):
        raise _wrong("a list [...]", value)
    if origin is tuple and parts and parts[-1] is not Ellipsis:
        if len(value) != len(parts):
            raise ShapeError(f"must have {len(parts)} entries, not {len(value)}")
        kinds = list(parts)
    else:
        kinds = [parts[0] if parts else Any] * len(value)
    found = []
    for i, (each, kind) in enumerate(zip(value, kinds, strict=True)):
        with _at(f"[{i}]"):
            found.append(_expect(each, kind))
    return found if origin is list else tuple(found)


def _mapping(value: Any, kind: Any, name: Any = str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong("an object {...}", value)
    found = {}
    for key, each in value.items():
        try:
            _expect(key, name)
        except ShapeError as error:
            raise ShapeError(f"has a wrong key, which {error.problem}") from None
        with _at(f".{key if len(key) <= MOST_TOLD else key[:MOST_TOLD] + '...'}"):
            found[key] = _expect(each, kind)
    return found


@cache
def _fields(kind: type) -> dict[str, tuple[Any, bool]]:
    """The fields that a dataclass is made with: kind, and whether it must be given."""
    hints = get_type_hints(kind, include_extras=True)
    return {
        each.name: (hints[each.name], each.default is MISSING and each.default_factory is MISSING)
        for each in fields(kind)
        if each.init
    }


def _made(value: Any, kind: Any) -> Any:
    if isinstance(value, kind):
        return value
    if not isinstance(value, Mapping):
        raise _wrong("an object {...}", value)
    try:
        if hasattr(kind, "from_json"):
            return kind.from_json(value)
        return kind(**_arguments(value, _fields(kind)))
    except ShapeError:
        raise
    except NetwrightError as error:  # what the class itself says of its values
        raise ShapeError(f"is not right: {error}") from None


def _arguments(value: Mapping[str, Any], known: Mapping[str, tuple[Any, bool]]) -> dict[str, Any]:
    """The fields of a dataclass by name; those that are left out have their defaults."""
    found = {}
    for name, (kind, needed) in known.items():
        if needed or name in value:
            with _at(f".{name}"):
                found[name] = _expect(_of(value, name), kind)
    for key in value:
        if key not in known:
            raise ShapeError(f"has a key {told(key)} that there is not; known are: {', '.join(known)}")
    return found
