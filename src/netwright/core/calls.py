"""Calls of the public functions and classes: arguments that they do not have are told as netwright's own errors."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

from .errors import CallError, nearest


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

    return call


def tell(kind: type, name: str) -> None:
    """Let a class of netwright tell the same of its constructor, wherever in its bases that is written."""
    for base in kind.__mro__:
        own = vars(base).get("__init__")
        if own is not None:
            if base.__module__.startswith(__name__.partition(".")[0]) and not hasattr(own, "__wrapped__"):
                base.__init__ = told(own, name)  # type: ignore[misc]
            return


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
        return f"has no argument {unknown[0]!r}; {nearest(unknown[0], named)}"
    given = {*kwargs, *list(signature.parameters)[: len(args)]}
    needed = [n for n in named if taken[n].default is inspect.Parameter.empty and n not in given]
    if needed:
        return f"needs {', '.join(map(repr, needed))} as well"
    return f"takes fewer arguments without a name; it has {', '.join(named)}"
