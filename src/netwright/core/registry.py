"""Registries: everything that comes in kinds has names, settings and ways to add one's own, written the same way.

A text names one thing of a kind:

* ``nsga2,population=50``: a name that netwright knows, and settings;
* ``mine:Halving,eta=3``: a class (or a function that makes one) of a person's own, ``module:Class``;
* a name that an installed package brings through the entry point group ``netwright.<plural>``, such as
  ``netwright.strategies``.

Settings are the keyword parameters of the class, which are the fields where it is a dataclass. Their types say how a
text is read: ``3``, ``0.5``, ``true``, ``none``, ``(0.9,0.999)``, a text.
"""

from __future__ import annotations

import inspect
import math
import re
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

from .arguments import article, shown
from .errors import CallError, NetwrightError, did_you_mean, format_error
from .hints import hints_of

T = TypeVar("T")

Settings = dict[str, tuple[Any, Any]]
"""Name to type and default; ``dataclasses.MISSING`` is the default of what must be given."""

OPEN, CLOSE = "([", ")]"


class Registry(Generic[T]):
    """The things of one kind, by name. Classes are imported when they are asked for.

    Args:
        kind: what one of them is called in messages, such as ``strategy``.
        base: the class that all of them are instances of.
        package: where netwright's own live, the ``__name__`` of the package.
        ours: name to ``file:Class`` in that package; a module with a dot, such as ``torch.optim:SGD``, is a module
            of its own.
        error: the type of error that is raised.
        plural: the end of the entry point group, where that is not the kind's regular plural.
    """

    def __init__(
        self,
        kind: str,
        base: type[Any],
        package: str,
        ours: Mapping[str, str],
        *,
        error: type[NetwrightError] = CallError,
        plural: str = "",
    ) -> None:
        self.kind, self.base, self.error = kind, base, error
        regular = re.sub(r"(?<![aeiou])ys$", "ies", f"{kind}s")
        self.group = f"netwright.{plural or regular.replace(' ', '_')}"
        self.ours = {name: _absolute(package, place) for name, place in ours.items()}

    def names(self) -> list[str]:
        """The names that are known: netwright's own, then those of installed packages."""
        return list(dict.fromkeys([*self.ours, *sorted(entry.name for entry in self._entries())]))

    def cls(self, name: str) -> Callable[..., T]:
        """The class of this name or of ``module:Class``; a function that makes one is as good.

        Raises the registry's error for one that is not known or cannot be imported.
        """
        what = f"{self.kind} {name!r}"
        if name in self.ours:
            module, _, attribute = self.ours[name].partition(":")
            return getattr(import_module(module), attribute)
        for entry in self._entries():
            if entry.name == name:
                try:
                    return entry.load()
                except Exception as error:  # a package's module may raise anything when it is imported
                    place = f"{entry.value} of {entry.dist.name if entry.dist else 'a package'}"
                    raise self.error(f"{what}: cannot import {place}: {format_error(error)}") from error
        if ":" in name:
            return find_object(name, f"the {self.kind} {name}", self.error, "module:Class")
        known = did_you_mean(name, self.names())
        raise self.error(f"there is no {what}; {known if known.endswith('?') else f'{known}, or module:Class'}")

    def parse(self, text: str) -> tuple[Callable[..., T], dict[str, Any]]:
        """The class that a text names, and the settings that it gives, typed.

        Raises the registry's error for a name, a setting or a value that is not known.
        """
        name, pairs = self._split(text)
        cls = self.cls(name)
        known = settings_of(cls)
        given: dict[str, Any] = {}
        for key, value in pairs:
            if key not in known:
                raise self.error(
                    f"{name} has no setting {key!r}; {did_you_mean(key, known) if known else 'it takes none'}"
                )
            if key in given:
                raise self.error(f"{text!r} gives {key} twice")
            try:
                given[key] = read_value(value, known[key][0])
            except ValueError as error:
                raise self.error(f"{name}: {key} must be {error}, not {value!r}") from None
        return cls, given

    def make(self, what: T | type[T] | str, **at_hand: Any) -> T:
        """The thing that a text names; an object of the kind is given back as it is.

        Args:
            what: the object; its class, for one with the settings that are default; or the text, which may stand in
                brackets.
            at_hand: settings by name that hold where the class has them and the text does not give them.

        Raises the registry's error where ``what`` is neither, or names nothing.
        """
        if isinstance(what, self.base):
            return what
        cls, given, name = self._chosen(what)
        known = settings_of(cls)
        given = {**{key: value for key, value in at_hand.items() if key in known}, **given}
        if missing := [key for key, (_, default) in known.items() if default is MISSING and key not in given]:
            text = any(_readers(known[missing[0]][0]))
            how = f"{name},{missing[0]}=..." if text else f"no text can give it; in Python it is {cls.__name__}(...)"
            raise self.error(f"the {self.kind} {name!r} needs {missing[0]!r} as well: {how}")
        try:
            made = cls(**given)
        except NetwrightError:
            raise
        except Exception as error:  # a person's class may raise anything
            raise self.error(f"the {self.kind} {name!r} cannot be made: {format_error(error)}") from error
        if not isinstance(made, self.base):
            raise self.error(f"{name!r} gives a {type(made).__name__}, which is no {self.kind}: derive it from "
                             f"{self.base.__module__}.{self.base.__qualname__}")  # fmt: skip
        return made

    def _chosen(self, what: Any) -> tuple[Callable[..., T], dict[str, Any], str]:
        """The class that is asked for, the settings that are given, and how it was written."""
        if isinstance(what, str):
            return *self.parse(what), what
        if isinstance(what, type) and issubclass(what, self.base) and what is not self.base:
            return what, {}, what.__name__
        some = (self.names() or ["module:Class"])[0]
        raise self.error(
            f"{article(self.kind)} is an object of that kind or a text such as {some!r}, not {shown(what)}"
        )

    def check(self, text: str, *, make: bool = True) -> None:
        """Raise the registry's error where a text names nothing that can be made.

        A name of netwright's own is right as it is: its module is not imported.

        Args:
            text: as a person writes it.
            make: False where making needs more than the text, or does something: only the name and the settings are
                looked at.
        """
        if text not in self.ours:
            self.make(text) if make else self.parse(text)

    def is_ours(self, text: str) -> bool:
        """Whether a text names one of netwright's own: no code of others is imported for it."""
        return self._name(text) in self.ours

    def is_installed(self, text: str) -> bool:
        """Whether a text names one of netwright's own or of an installed package, and no ``module:Class``, for which
        any module that can be found would be imported."""
        return self._name(text) in self.names()

    def _name(self, text: str) -> str:
        try:
            return self._split(text)[0]
        except self.error:
            return ""

    def settings(self, name: str) -> Settings:
        """What can be set of the one of this name, in order: name to type and default."""
        return settings_of(self.cls(name))

    def name_of(self, cls: type[T]) -> str:
        """The name that a class is known by; ``module:Class`` where it has none."""
        for name, place in self.ours.items():
            if _loaded(place) is cls:
                return name
        own = f"{cls.__module__}:{cls.__qualname__}"
        return next((entry.name for entry in self._entries() if _loaded(entry.value) is cls), own)

    def text(self, made: T) -> str:
        """The text that makes an equal object; settings that are as by default, or are not kept, are left out.

        A value that no text can give is told by its type.
        """
        cls: Any = type(made)
        changed = {
            key: getattr(made, key)
            for key, (_, default) in settings_of(cls).items()
            if hasattr(made, key) and not _same(getattr(made, key), default)
        }
        return ",".join([self.name_of(cls), *(f"{key}={write_value(value)}" for key, value in changed.items())])

    def _entries(self) -> Iterator[EntryPoint]:
        yield from entry_points(group=self.group)

    def _split(self, text: str) -> tuple[str, list[tuple[str, str]]]:
        """The name and the settings of a text, as texts."""
        text = text.strip()
        inside = text[1:-1] if text[:1] in tuple(OPEN) and text[-1:] in tuple(CLOSE) else text
        name, *parts = (part.strip() for part in split(inside))
        if not name:
            raise self.error(f"{text!r} names no {self.kind}; {did_you_mean('', self.names())}")
        pairs = []
        for part in parts:
            key, equals, value = (each.strip() for each in part.partition("="))
            if not equals or not key:
                raise self.error(f"{part!r} in {text!r} is no setting of the {self.kind} {name}: write name=value")
            pairs.append((key, value))
        return name, pairs


def split(text: str) -> list[str]:
    """The parts of a text between commas, but for those within brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in OPEN) - (letter in CLOSE)
        if letter == "," and depth <= 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def make_importable(folder: str | Path | None) -> None:
    """Let modules be found in a folder, such as that of a recipe; before all others."""
    if folder is not None and str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def find_object(reference: str, what: str, error: type[NetwrightError], form: str = "module:function") -> Any:
    """What ``module:name`` names: something that can be called.

    Args:
        reference: as a person writes it.
        what: it is for, for messages.
        error: the type of error that is raised, with the reason.
        form: how a reference is written, ``module:function`` or ``module:Class``.
    """
    module_name, colon, name = reference.partition(":") if isinstance(reference, str) else ("", "", "")
    if not colon or not module_name or not name:
        raise error(f"{what}: write {form}, not {reference!r}")
    try:
        module = import_module(module_name)
    except (Exception, SystemExit) as mistake:  # a person's module may raise anything when it is imported
        raise error(f"{what}: cannot import {module_name!r} of {reference!r}: {format_error(mistake)}") from mistake
    found = getattr(module, name, None)
    if found is None:
        own = {n: v for n, v in vars(module).items() if getattr(v, "__module__", None) == module.__name__}
        classes = form.endswith("Class")
        named = [n for n, v in own.items() if callable(v) and isinstance(v, type) == classes and not n.startswith("_")]
        raise error(f"{what}: {module_name} has no {name!r}; {did_you_mean(name, named)}")
    if not callable(found):
        raise error(f"{what}: {reference} is of type {type(found).__name__}, not a {form.partition(':')[2].lower()}")
    return found


@cache
def settings_of(target: Callable[..., Any]) -> Settings:
    """The keyword parameters of a class or a function: name to type and default."""
    try:
        parameters = inspect.signature(target).parameters
    except (TypeError, ValueError):  # written in C
        return {}
    hints = hints_of(target)
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    factories = {f.name: f.default_factory for f in fields(target)} if is_dataclass(target) else {}
    found: Settings = {}
    for name, parameter in parameters.items():
        if parameter.kind in named:
            default = MISSING if parameter.default is inspect.Parameter.empty else parameter.default
            if (factory := factories.get(name, MISSING)) is not MISSING:
                default = factory()
            found[name] = (hints.get(name, _type_like(default)), default)
    return found


def _type_like(default: Any) -> Any:
    """The type of a parameter without one, from its default: 1 may well become 0.5."""
    if default is None or default is MISSING:
        return int | float | str | None
    if isinstance(default, int) and not isinstance(default, bool):
        return int | float
    return type(default)


class _Reader(NamedTuple):
    """What reads a text as a value of one type.

    Args:
        rank: readers of a lower one are tried first.
        words: what the value is called.
        read: raises :class:`ValueError` for a text that is none.
    """

    rank: int
    words: str
    read: Callable[[str], Any]


def read_value(text: str, kind: Any) -> Any:
    """A text as a value of a type.

    Raises :class:`ValueError` with what it must be, in words, such as ``a whole number``.
    """
    readers = list(_readers(kind))
    for reader in sorted(readers, key=lambda each: each.rank):
        try:
            return reader.read(text)
        except ValueError:
            continue
    if not readers:
        raise ValueError(f"given in Python, as {getattr(kind, '__name__', kind)}")
    raise ValueError(" or ".join(dict.fromkeys(reader.words for reader in readers)))


def _readers(kind: Any) -> Iterator[_Reader]:
    """The readers of a type; none for one that no text can give."""
    origin, parts = get_origin(kind) or kind, get_args(kind)
    if origin in (Union, types.UnionType):
        for part in parts:
            yield from _readers(part)
    elif origin is Literal:
        options = {write_value(part): part for part in parts}
        words = f"one of {', '.join(options)}" if len(options) > 1 else next(iter(options))
        yield _Reader(1, words, lambda text: _option(text, options))
    elif origin in (tuple, list, Sequence):
        fixed = origin is tuple and parts and parts[-1] is not Ellipsis
        words = f"{len(parts)} values such as (1,2)" if fixed else "values such as (1,2)"
        yield _Reader(4, words, lambda text: _sequence(text, origin, parts))
    elif kind in (Any, inspect.Parameter.empty):
        yield from _readers(int | float | bool | str | None)
    elif kind in SIMPLE:
        yield SIMPLE[kind]
    elif isinstance(kind, type) and issubclass(kind, str):  # texts of which some are refused
        yield _Reader(5, "a text", kind)


def _option(text: str, options: Mapping[str, Any]) -> Any:
    """The value that is written as ``text``."""
    if text not in options:
        raise ValueError
    return options[text]


def _number(text: str) -> float:
    if math.isnan(value := float(text)):
        raise ValueError
    return value


def _sequence(text: str, origin: Any, parts: Sequence[Any]) -> Any:
    """Values in brackets, or a single one without."""
    inside = text[1:-1] if text[:1] in tuple(OPEN) and text[-1:] in tuple(CLOSE) else text
    texts = [part.strip() for part in split(inside)]
    if not texts[-1]:  # nothing, or as Python writes a tuple of one
        texts.pop()
    fixed = origin is tuple and parts and parts[-1] is not Ellipsis
    kinds = parts if fixed else [parts[0] if parts else int | float | str] * len(texts)
    values = [read_value(each, kind) for each, kind in zip(texts, kinds, strict=True)]
    return values if origin is list else tuple(values)


SIMPLE: Mapping[Any, _Reader] = {
    type(None): _Reader(0, "none", lambda text: _option(text.lower(), {"none": None})),
    bool: _Reader(0, "true or false", lambda text: _option(text.lower(), {"true": True, "false": False})),
    int: _Reader(2, "a whole number", int),
    float: _Reader(3, "a number", _number),
    Path: _Reader(5, "a path", Path),
    str: _Reader(6, "a text", str),
}


def write_value(value: Any) -> str:
    """A value as :func:`read_value` reads it; the name of its type where no text can give it."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float | str | Path):
        return f"({value})" if len(split(str(value))) > 1 else str(value)
    if isinstance(value, tuple | list):
        return f"({','.join(map(write_value, value))}{',' if len(value) == 1 else ''})"
    return type(value).__name__


def _same(value: Any, default: Any) -> bool:
    try:
        return bool(value == default)
    except Exception:  # arrays and tensors have no one truth
        return value is default


def _loaded(place: str) -> Any:
    """What ``module:Class`` names, where the module was imported; else None."""
    module, _, name = place.partition(":")
    return getattr(sys.modules.get(module), name, None)


def _absolute(package: str, place: str) -> str:
    module, _, name = place.partition(":")
    return place if "." in module else f"{package}.{module}:{name}"
