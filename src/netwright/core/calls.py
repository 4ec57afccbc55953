"""Calls of the public functions and classes: arguments that they do not have, or do not take, are told as netwright's
own errors."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from functools import cached_property, wraps
from types import FunctionType
from typing import Any

from .arguments import Misfit, misfit, plain
from .errors import CallError, NetwrightError, did_you_mean
from .hints import hints_of

TELLS = "_tells"
"""The attribute of what tells already."""

WITHIN = frozenset({__name__.partition(".")[0], "torch", "dataclasses", "contextlib", "functools"})
"""The packages whose calls are taken as they are: they come often, and from code that is checked."""


def told(function: Callable[..., Any], name: str, kind: type | None = None) -> Callable[..., Any]:
    """The function, which raises :class:`CallError` where a person calls it with arguments that it does not have,
    without those that it needs, or with such as its parameters' types do not take.

    Args:
        function: or the ``__init__`` of a class.
        name: by which people call it.
        kind: the class whose ``__init__`` it is: that costs nothing and speaks first of what it refuses; a function may
            do a day's work before it does.
    """
    checks = _Checks(function, name, kind)

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        wrong, asked = None, sys._getframe(1).f_globals.get("__name__", "").partition(".")[0] not in WITHIN
        if asked:
            wrong, args, kwargs = checks.read(args, kwargs)
            if wrong and not kind:
                raise CallError(f"{name}(): {wrong}")
        label = type(args[0]).__name__ if kind and args else name  # a constructor is that of many classes
        try:
            made = function(*args, **kwargs)
        except NetwrightError:
            raise
        except Exception as error:
            if wrong:
                raise CallError(f"{label}(): {wrong}") from None
            if asked and isinstance(error, TypeError) and (mistake := checks.mistake(args, kwargs)):
                raise CallError(f"{label}() {mistake}") from None
            raise
        if wrong:
            raise CallError(f"{label}(): {wrong}")
        return made

    setattr(call, TELLS, True)
    return call


def tell_all(module: str) -> None:
    """Let all that a module of netwright makes public tell the same.

    Args:
        module: its ``__name__``.
    """
    home = sys.modules[module]
    for name in home.__all__:
        value = getattr(home, name)
        if isinstance(value, type):
            tell(value, name)
        elif isinstance(value, FunctionType) and not hasattr(value, TELLS):
            setattr(home, name, told(value, name))


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
            if not public:
                continue
            form = type(own) if isinstance(own, classmethod | staticmethod) else None
            function = own.__func__ if form else own
            if isinstance(function, FunctionType) and not hasattr(function, TELLS):
                makes = method == "__init__"
                new = told(function, name if makes else f"{name}.{method}", base if makes else None)
                setattr(base, method, form(new) if form else new)


class _Checks:
    """What a function takes."""

    def __init__(self, function: Callable[..., Any], name: str, kind: type | None) -> None:
        self.function, self.name, self.kind = function, name, kind

    @cached_property
    def signature(self) -> inspect.Signature:
        return inspect.signature(self.function)

    @cached_property
    def hints(self) -> Mapping[str, Any]:
        """The types of its parameters, but for those that gather others."""
        gather = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        named = {n for n, p in self.signature.parameters.items() if p.kind not in gather}
        generated = self.kind and self.function.__code__.co_filename == "<string>"  # a dataclass's, from all its bases
        return {n: hint for n, hint in hints_of(self.kind if generated else self.function).items() if n in named}

    def read(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Misfit | None, tuple[Any, ...], dict[str, Any]]:
        """The first argument that does not fit, if any, and all of them as their types have them."""
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError:  # there are others than it has
            return None, args, kwargs
        hints, given = self.hints, bound.arguments
        if wrong := next((wrong for n, v in given.items() if n in hints and (wrong := misfit(n, v, hints[n]))), None):
            return wrong, args, kwargs
        given.update({n: plain(v, hints[n]) for n, v in given.items() if n in hints})
        return None, bound.args, bound.kwargs

    def mistake(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
        """What is wrong with which arguments are given, in words; empty where it has these."""
        try:
            self.signature.bind(*args, **kwargs)
        except TypeError:
            pass
        else:
            return ""
        taken = {n: p for n, p in self.signature.parameters.items() if n not in ("self", "cls")}
        named = [n for n, p in taken.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        if unknown := [n for n in kwargs if n not in named]:
            return f"got an unexpected keyword argument {unknown[0]!r}; {did_you_mean(unknown[0], named)}"
        given = {*kwargs, *list(self.signature.parameters)[: len(args)]}
        needed = [n for n in named if taken[n].default is inspect.Parameter.empty and n not in given]
        if needed:
            return f"needs {', '.join(map(repr, needed))} as well"
        return f"takes fewer arguments without a name; it has {', '.join(named)}"
