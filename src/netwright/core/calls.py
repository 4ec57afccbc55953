"""Calls of the public functions and classes: arguments that they do not have are told as netwright's own errors."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from types import FunctionType
from typing import Any

from .errors import CallError, did_you_mean

TELLS = "_tells"
"""The attribute of what tells already."""


def told(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The function, which raises :class:`CallError` where it is called with arguments that it does not have, or without
    those that it needs.

    Args:
        function: or the ``__init__`` of a class.
        name: by which people call it.
    """

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except TypeError:
            if mistake := _mistake(function, args, kwargs):
                raise CallError(f"{name}() {mistake}") from None
            raise

    setattr(call, TELLS, True)
    return call


def tell(kind: type, name: str) -> None:
    """Let a class of netwright tell the same of its constructor and public methods, wherever in its bases they are.

    Those of ``core`` are left as they are but for the constructor: searches call them a million times.
    """
    home = __name__.partition(".")[0]
    for base in kind.__mro__:
        if base.__module__.partition(".")[0] != home:
            continue
        for method, own in list(vars(base).items()):
            public = method == "__init__" or not (method.startswith("_") or base.__module__.startswith(f"{home}.core."))
            if public and isinstance(own, FunctionType) and not hasattr(own, TELLS):
                setattr(base, method, told(own, name if method == "__init__" else f"{name}.{method}"))


def _mistake(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """What is wrong with the arguments, in words; empty where they fit."""
    signature = inspect.signature(function)
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        pass
    else:
        return ""
    taken = {n: p for n, p in signature.parameters.items() if n != "self"}
    named = [n for n, p in taken.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    if unknown := [n for n in kwargs if n not in named]:
        return f"got an unexpected keyword argument {unknown[0]!r}; {did_you_mean(unknown[0], named)}"
    given = {*kwargs, *list(signature.parameters)[: len(args)]}
    needed = [n for n in named if taken[n].default is inspect.Parameter.empty and n not in given]
    if needed:
        return f"needs {', '.join(map(repr, needed))} as well"
    return f"takes fewer arguments without a name; it has {', '.join(named)}"
