"""Arguments against the types of their parameters: what does not fit is told in words, before anything is done with it.

The annotations of the public functions are what is checked, so that what is taken is said in one place: to readers, to
type checkers, and here. NumPy's numbers are numbers, truth values are none, and a text is no list. Values of files,
which are JSON and untrusted, are :mod:`netwright.core.shape`'s.
"""

from __future__ import annotations

import inspect
import os
import types
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Sized
from contextlib import suppress
from math import isfinite
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

import numpy as np

SHORT = 60
"""Characters of a value that is shown; of one that is longer its type is named."""

LARGEST = 1e150
"""Of what a person's own function gives: strategies and predictors multiply such values with one another."""

SHOWN = (bool, int, float, complex, str, bytes, list, tuple, dict, set, Path, type(None))
"""The types of values that are shown as they are."""

PLAIN: Mapping[Any, tuple[tuple[type, ...], str]] = {
    bool: ((bool, np.bool_), "True or False"),
    int: ((Integral,), "a whole number"),
    float: ((Real,), "a number"),
    str: ((str,), "a text"),
    Path: ((str, os.PathLike), "a path"),
    None: ((type(None),), "None"),
    type(None): ((type(None),), "None"),
}
"""What is taken for each simple type, and its words; for a path also its text."""

CONTAINERS = (list, tuple, set, frozenset, dict, Iterable, Collection, Sequence, Mapping)
"""The types of what holds others; whatever can be gone through is a list."""

SEVERAL = 3
"""Types of a union, of which messages name no more within a list."""

UNIONS = (Union, types.UnionType)

WORDS: Mapping[str, tuple[str, str]] = {
    "Candidate": ("a candidate", "space.candidate({...}) makes one"),
    "Choice": ('a choice such as nw.Choice("depth", (2, 3, 4))', ""),
    "Callback": ("an object with the methods of nw.Callback", "derive it from nw.Callback"),
    "Data": ("data such as nw.Data(train, validation, test)", ""),
    "EvaluationContext": ("what a study gives a measurer", "it is called by nw.Study(..., objectives=[measurer])"),
    "Generator": ("a random generator such as numpy.random.default_rng(seed)", ""),
    "Importance": ("what nw.sort_channels(net) returns", ""),
    "Latency": ('a latency such as nw.Latency("onnxruntime")', ""),
    "Limit": ("a limit", ""),
    "Measurement": ("a measurement such as nw.Measurement(value, unit)", ""),
    "Measurer": ('a measurer such as nw.Latency("onnxruntime")', ""),
    "Metric": ('a metric such as nw.Metric("top1", direction="max")', ""),
    "Module": ("a network (a torch.nn.Module)", "of a super-network extract one first: net.extract(candidate)"),
    "Problem": ("what a study asks a strategy for", "it is called by study.run(strategy, evaluations)"),
    "Axis": ("an axis such as nw.Width.tie(...)", ""),
    "Criterion": ("a criterion such as nw.importance.L1()", ""),
    "Format": ("a format", ""),
    "OnTarget": ('what measures on a target, such as nw.Latency("onnxruntime")', ""),
    "Optimizer": ("an optimizer", "such as optimizer='adamw,lr=0.001'"),
    "Rule": ("a rule such as nw.rules.Sandwich()", ""),
    "Schedule": ("a schedule", "such as schedule='cosine'"),
    "Strategy": ("a strategy such as nw.Random()", ""),
    "Task": ("a task such as nw.tasks.Regression()", ""),
    "Record": ("a record, as study.records and nw.search give them", ""),
    "Recipe": ("a recipe", ""),
    "Runtime": ("a runtime such as nw.targets.OnnxRuntime(threads=1)", ""),
    "Searchable": (
        "what has a space and extract()",
        "nw.wrap(module, example_inputs) makes a super-network of a module",
    ),
    "Space": ('a space such as nw.Space([nw.Choice("depth", (2, 3, 4))])', ""),
    "SuperNet": ("a super-network", "nw.wrap(network, example_inputs) makes one of a network"),
    "Target": ("a target", ""),
    "Tensor": ("a tensor", ""),
}
"""What things are called that are not known by the names of their classes, and how one is come by."""


class Misfit(NamedTuple):
    """What does not fit.

    Args:
        where: the parameter, or the place in its value, such as ``objectives[0]``.
        wanted: what is taken there, in words.
        got: what was given.
        fix: how to come by what is taken; may be empty.
    """

    where: str
    wanted: str
    got: str
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.where} is {self.wanted}, not {self.got}{f'; {self.fix}' * bool(self.fix)}"


def misfit(where: str, value: Any, kind: Any) -> Misfit | None:
    """What of a value does not fit a type; None where all does, or where the type does not tell."""
    if type(value) is kind:
        return None
    origin, parts = get_origin(kind) or kind, get_args(kind)
    if origin in UNIONS:
        return _of_several(where, value, parts)
    if origin is Callable:
        return _of_function(where, value, parts)
    if origin in CONTAINERS:
        return _of_container(where, value, origin, parts)
    if _fits(value, kind, origin, parts):
        return None
    return Misfit(where, words(kind), shown(value), _fix(value, kind))


def plain(value: Any, kind: Any) -> Any:
    """A value as its type has it: Python's numbers for NumPy's, and a path for its text."""
    if isinstance(value, np.generic) and value.shape == ():
        return value.item()
    return Path(value) if isinstance(value, str) and _takes_path(kind) else value


def as_number(value: Any) -> float:
    """What a person's own function gave, as a number. A text is none, whatever it says.

    Raises ``ValueError`` whose text goes on after the value's name: "must be a number, not ...".
    """
    bounds = f"must be a number between {-LARGEST:g} and {LARGEST:g}"
    try:
        if isinstance(value, str | bytes):
            raise TypeError
        number = float(value)
    except OverflowError:
        given = f"a whole number of {value.bit_length()} bits" if isinstance(value, int) else shown(value)
        raise ValueError(f"{bounds}, not {given}") from None
    except (TypeError, ValueError):
        raise ValueError(f"must be a number, not {shown(value)}") from None
    if isfinite(number) and abs(number) > LARGEST:
        raise ValueError(f"{bounds}, not {number!r}")
    return number


def shown(value: Any) -> str:
    """A value as messages show it."""
    if isinstance(value, type | types.ModuleType | types.FunctionType):
        form = {type: "class", types.ModuleType: "module"}.get(type(value), "function")
        return f"the {'class' if isinstance(value, type) else form} {value.__name__}"
    if isinstance(value, SHOWN):
        with suppress(Exception):  # of a person's own objects within
            if len(text := repr(value)) <= SHORT:
                return text
    return article(type(value).__name__)


def article(name: str) -> str:
    """A name with its indefinite article."""
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def words(kind: Any) -> str:
    """What a type is called in messages."""
    origin, parts = get_origin(kind) or kind, get_args(kind)
    name = getattr(origin, "__name__", "")
    if kind in PLAIN:
        return PLAIN[kind][1]
    if origin in UNIONS:
        return _either([words(part) for part in parts])
    if origin is Literal:
        return _either([repr(part) for part in parts])
    if origin in CONTAINERS:
        return _words_of_container(origin, parts)
    if origin is Callable:
        return _words_of_function(parts)
    if not _is_class(origin):
        return "a value"
    return WORDS[name][0] if name in WORDS else article(name)


def _fits(value: Any, kind: Any, origin: Any, parts: tuple[Any, ...]) -> bool:
    if kind in PLAIN:
        of_truth = isinstance(value, bool | np.bool_) and kind in (int, float)
        return isinstance(value, PLAIN[kind][0]) and not of_truth
    if origin is Literal:
        return any(value is part or (type(value) is type(part) and value == part) for part in parts)
    if not _is_class(origin):
        return True  # a type variable, a name that cannot be resolved
    if _is_protocol(origin):
        members = [name for name in vars(origin) if not name.startswith("_")]
        return not isinstance(value, type) and all(hasattr(value, name) for name in members)
    return isinstance(value, origin)


def _of_several(where: str, value: Any, parts: tuple[Any, ...]) -> Misfit | None:
    """Against a union. A class is as good as its name where an object may be given by its name."""
    if type(value) in parts and value != "":  # as it most often is
        return None
    if isinstance(value, Mapping) and any((get_origin(part) or part) is Mapping for part in parts):
        parts = tuple(part for part in parts if (get_origin(part) or part) not in CONTAINERS[:-1])
    told = [misfit(where, value, part) for part in parts]
    if not all(told):
        empty = isinstance(value, str) and not value and Path in parts
        return Misfit(where, words(Path), "''") if empty else None
    classes = [part for part in parts if _is_class(part) and not _is_protocol(part) and part not in PLAIN]
    if str in parts and isinstance(value, type) and any(issubclass(value, part) for part in classes):
        return None
    if within := [each for each in told if each and each.where != where]:
        return within[0]
    fixes = [each.fix for each in told if each and each.fix]
    return Misfit(where, _either([each.wanted for each in told if each]), shown(value), fixes[0] if fixes else "")


def _of_function(where: str, value: Any, parts: tuple[Any, ...]) -> Misfit | None:
    """Against a function that is called with arguments by position."""
    wanted, found = _words_of_function(parts), parts[-1] if parts else Any
    if not callable(value):
        return Misfit(where, wanted, shown(value))
    if isinstance(value, type) and _is_class(kind := get_origin(found) or found) and not issubclass(value, kind):
        return Misfit(where, wanted, shown(value), "call it, or give a function")
    if parts and isinstance(parts[0], list):
        try:
            inspect.signature(value).bind(*[None] * len(parts[0]))
        except TypeError:
            return Misfit(where, wanted, f"{shown(value)}, which cannot be called with that")
        except ValueError:  # written in C
            return None
    return None


def _of_container(where: str, value: Any, origin: Any, parts: tuple[Any, ...]) -> Misfit | None:
    """Against a list, a tuple, a dict or the like, and what it holds."""
    whole = Misfit(where, _words_of_container(origin, parts), shown(value))
    if issubclass(origin, Mapping):
        named, kept = parts or (Any, Any)
        if not isinstance(value, Mapping):
            return whole
        for key, held in value.items():
            if wrong := misfit(f"a key of {where}", key, named) or misfit(f"{where}[{key!r}]", held, kept):
                return wrong
        return None
    part = parts[0] if parts else Any
    if isinstance(value, str | bytes | type) or not (isinstance(value, Iterable) or hasattr(value, "__getitem__")):
        alone = part is not Any and not misfit(where, value, part)
        return whole._replace(fix=f"put it in a list: [{shown(value)}]") if alone else whole
    if not isinstance(value, Sized) or part is Any:  # it may be gone through only once
        return None
    values: list[Any] = value.tolist() if hasattr(value, "tolist") else list(value)  # type: ignore[call-overload]
    fixed = origin is tuple and parts and parts[-1] is not Ellipsis
    if fixed and len(values) != len(parts):
        return whole
    kinds = parts if fixed else (part,) * len(values)
    for i, (held, kind) in enumerate(zip(values, kinds, strict=True)):
        if type(held) is not kind and (told := misfit(f"{where}[{i}]", held, kind)):
            return told
    return None


def _words_of_container(origin: Any, parts: tuple[Any, ...]) -> str:
    if issubclass(origin, Mapping):
        return f"a dict ({_brief(parts[0])}: {_brief(parts[1])})" if parts else "a dict"
    if origin is tuple and parts and parts[-1] is not Ellipsis:
        return f"{len(parts)} values ({', '.join(map(words, parts))})"
    return f"a list ({_brief(parts[0])}, ...)" if parts and parts[0] is not Any else "a list"


def _brief(kind: Any) -> str:
    """What a type is called within another, without what is within it in turn."""
    origin, parts = get_origin(kind) or kind, get_args(kind)
    if origin in CONTAINERS:
        return "a dict" if issubclass(origin, Mapping) else "a list"
    return "a value" if origin in UNIONS and len(parts) > SEVERAL else words(kind)


def _words_of_function(parts: tuple[Any, ...]) -> str:
    if not parts or not isinstance(parts[0], list):
        return "a function"
    named = [words(part) for part in parts[0]]
    if not named:
        return "a function without arguments"
    several = len(named) > 1 or named == ["a value"]
    return f"a function of {len(named)} argument{'s' * (len(named) > 1)}" if several else f"a function of {named[0]}"


def _either(named: list[str]) -> str:
    *others, last = dict.fromkeys(named)
    return f"{', '.join(others)} or {last}" if others else last


def _is_class(kind: Any) -> bool:
    return isinstance(kind, type) and kind is not Any


def _is_protocol(kind: Any) -> bool:
    return bool(getattr(kind, "_is_protocol", False))


def _takes_path(kind: Any) -> bool:
    """Whether a text is taken for a path alone."""
    parts = get_args(kind) if (get_origin(kind) in UNIONS) else (kind,)
    return Path in parts and str not in parts


def _fix(value: Any, kind: Any) -> str:
    if isinstance(value, type) and _is_class(kind) and not _is_protocol(kind) and issubclass(value, kind):
        return f"call it: {value.__name__}(...)"
    return WORDS.get(getattr(kind, "__name__", ""), ("", ""))[1]
