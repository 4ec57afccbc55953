"""What a function is, as a digest: it changes where the person has changed the function."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType, MethodType
from typing import Any

from .candidate import digest


def code_digest(function: Any) -> str:
    """A digest of a callable's code, and of what it refers to beside itself.

    That is: its defaults, the functions and classes of its own module that it calls, directly or through others, and
    the texts and paths that it reads from its module or from around it, such as ``"/data/val.csv"``. Numbers are left
    out: among them are counters, which change while nothing was mended. What a callable keeps in attributes is left
    out too.
    """
    seen: dict[int, Any] = {}
    return digest(list(_parts(function, getattr(function, "__module__", None), seen)))


def _parts(value: Any, home: str | None, seen: dict[int, Any]) -> Iterator[Any]:
    """JSON values that describe an object; nothing for what was described before, or is of other modules."""
    if isinstance(value, str | Path):
        yield str(value)
        return
    if id(value) in seen:
        return
    seen[id(value)] = value  # kept, so that no other object comes to have its number
    if isinstance(value, partial):
        for part in (value.func, *value.args, *value.keywords.values()):
            yield from _parts(part, home, seen)
    elif isinstance(value, MethodType):
        yield from _parts(value.__func__, home, seen)
    elif isinstance(value, FunctionType):
        if value.__module__ == home:
            yield from _function(value, home, seen)
    elif isinstance(value, type):
        if value.__module__ == home:
            yield value.__qualname__
            for member in vars(value).values():
                plain = member.__func__ if isinstance(member, staticmethod | classmethod) else member
                yield from _parts(plain.fget if isinstance(plain, property) else plain, home, seen)
    elif callable(value):
        yield from _parts(type(value), home, seen)


def _function(function: FunctionType, home: str | None, seen: dict[int, Any]) -> Iterator[Any]:
    yield _code(function.__code__)
    reads = {name for code in _codes(function.__code__) for name in code.co_names}
    around = [cell.cell_contents for cell in function.__closure__ or () if _filled(cell)]
    globals_ = [function.__globals__[name] for name in sorted(reads) if name in function.__globals__]
    for value in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values(), *around, *globals_):
        yield from _parts(value, home, seen)


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _code(code: CodeType) -> list[Any]:
    """What code does, without the lines that it stands in."""
    constants = [_code(c) if isinstance(c, CodeType) else _constant(c) for c in code.co_consts]
    return [code.co_code.hex(), list(code.co_names), list(code.co_varnames), constants]


def _constant(value: Any) -> Any:
    """A constant in words that are the same in every process: sets have an order of their own in each."""
    return sorted(map(repr, value)) if isinstance(value, frozenset) else repr(value)


def _filled(cell: Any) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:  # a name that is not bound yet
        return False
    return True
