"""Recipes read: built-in ones and YAML files, their keys checked, and the functions that they name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, cast, get_origin, get_type_hints

from ..core.errors import NetwrightError, RecipeError, did_you_mean, format_error
from ..core.registry import Registry, find_object, make_importable
from .pretrained import with_defaults
from .schema import NO_DATA, Recipe, registry_of


def builtin() -> list[str]:
    """Names of the recipes that come with netwright."""
    folder = resources.files("netwright.recipes")
    return sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml"))


Given = Recipe | Mapping[str, Any] | str | Path
"""A recipe, a tree of its keys, the name of a built-in one, or the path of a YAML file."""


def load(what: Given, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """A recipe with some of its keys replaced. One of a pre-trained model has defaults of its own, where it is no
    :class:`Recipe` already: see :mod:`netwright.recipe.pretrained`.

    The directory of a file becomes importable, so that ``module:function`` may lie beside it.

    Args:
        what: the recipe as it is given.
        overrides: dotted key to value, such as ``{"train.epochs": 3}``.
    """
    if isinstance(what, Mapping):
        return parse(with_defaults(_replaced(deepcopy(dict(what)), overrides)), "the recipe")
    if isinstance(what, Recipe):
        return parse(_replaced(what.to_json(), overrides), "the recipe") if overrides else what
    values = _values(str(what))
    if not isinstance(values, dict):
        raise RecipeError(f"{what} must hold keys such as model: and data:")
    return parse(with_defaults(_replaced(values, overrides)), str(what), folder_of(what))


def name_of(what: Given) -> str:
    """What a person calls a recipe: its file's name, or that of the folder of a ``recipe.yaml``; empty for one that
    was made in Python."""
    if isinstance(what, Recipe | Mapping):
        return ""
    path = Path(what)
    return path.resolve().parent.name if path.stem == "recipe" and _is_file(path) else path.stem


def folder_of(what: Given) -> str | None:
    """Where a recipe's own code may lie: the directory of its file; None for others."""
    if isinstance(what, Recipe | Mapping) or not _is_file(what):
        return None
    return str(Path(what).resolve().parent)


def _is_file(what: str | Path) -> bool:
    return Path(what).suffix in (".yaml", ".yml")


def _values(name: str) -> Any:
    """What the YAML of a recipe holds. Raises :class:`RecipeError` where there is none of this name."""
    from .text import parse_yaml, read_yaml

    path = Path(name)
    if _is_file(path):
        return read_yaml(path)
    if name in builtin():
        return parse_yaml((resources.files("netwright.recipes") / f"{name}.yaml").read_text(), name)
    close = did_you_mean(name.lower(), builtin())
    own = f"that names functions, such as model: {path.stem}:supernet" if path.suffix == ".py" else "of your own"
    raise RecipeError(f"there is no recipe {name!r}; {close.rstrip('?')}, or the path of a .yaml file {own}?")


def _replaced(values: dict[str, Any], overrides: Mapping[str, Any] | None) -> dict[str, Any]:
    """The tree with the dotted keys on top."""
    for dotted, value in (overrides or {}).items():
        at, *deeper = dotted.split(".")
        if not deeper:
            values[at] = value
        elif isinstance(branch := values.setdefault(at, {}), dict):  # whatever else it holds is said by parse
            branch[deeper[0]] = value
    return values


def parse(values: Mapping[str, Any], source: str, folder: str | None = None) -> Recipe:
    """A recipe from its JSON values. Raises :class:`RecipeError` for unknown keys and wrong types.

    Args:
        values: the tree.
        source: where it comes from, for messages.
        folder: where its ``module:function`` may lie; becomes importable.
    """
    for place in (Path.cwd(), folder):  # the recipe's own directory comes first
        make_importable(place)
    if not isinstance(values, Mapping):
        raise RecipeError(f"{source} must hold keys such as model: and data:")
    if values.get("data") is None:  # an empty key is one that is left out
        values = {key: value for key, value in values.items() if key != "data"}
    _check_keys(Recipe, values, source, "")
    if values.get("objectives") == []:
        raise RecipeError(
            f"{source}: objectives must be one or more different metrics; leave the key out for the default"
        )
    if "data" not in values and "objectives" not in values:
        raise RecipeError(f"{source}: the key 'data' is missing; {NO_DATA}")
    parser = _recipe_parser()
    try:
        parsed = parser.instantiate(parser.parse_object(dict(values)))
    except NetwrightError:
        raise
    except Exception as error:  # jsonargparse raises several types
        raise RecipeError(f"{source}: {parser_message(error)}") from None
    return Recipe(**{f.name: parsed[f.name] for f in fields(Recipe)})


@cache
def _recipe_parser() -> Any:
    """What recipes are read with; to make it takes longer than to read with it."""
    return parser_of(Recipe)


def parser_of(kind: type, skip: set[str] | None = None, **settings: Any) -> Any:
    """A jsonargparse parser of a dataclass tree; the strings below the attributes become help."""
    import jsonargparse

    jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = jsonargparse.ArgumentParser(exit_on_error=False, **settings)
    parser.add_class_arguments(kind, skip=skip)
    named = dict(kinds_in(kind))
    for action in parser._actions:
        if registry := named.get(action.dest):
            names = registry.names()
            known = f"One of {', '.join(names)}, or module:Class" if names else "It is module:Class of your own"
            action.help = f"{action.help} {known}; settings follow: name,key=value."
    return parser


def kinds_in(kind: type, prefix: str = "") -> Iterator[tuple[str, Registry[Any]]]:
    """The keys of a tree that name things of a kind, dotted, and the registry of each."""
    hints = get_type_hints(kind)
    for key in fields(kind):
        if is_dataclass(hints[key.name]):
            yield from kinds_in(hints[key.name], f"{prefix}{key.name}.")
        elif registry := registry_of(key):
            yield f"{prefix}{key.name}", registry


def list_keys(kind: type, prefix: str = "") -> Iterator[str]:
    """The keys of a tree that take a list, dotted."""
    for name, hint in get_type_hints(kind).items():
        if is_dataclass(hint):
            yield from list_keys(cast(type, hint), f"{prefix}{name}.")
        elif get_origin(hint) is list:
            yield f"{prefix}{name}"


def parser_message(error: Exception) -> str:
    """jsonargparse's message in one sentence, with types as a person writes them."""
    text = " ".join(str(error).split())
    if 'Parser key "' in text:
        text = text[text.rindex('Parser key "') :].replace('Parser key "', "the key '").replace('":', "':", 1)
    # Of a key that may be left empty, what else it may be.
    text = re.sub(
        r"Does not validate against any of the Union .*? - (Expected .*?) - .*Given value: ", r"\1. Got value: ", text
    )
    text = re.sub(r"<class '(\w+)'>", r"\1", text)
    text = re.sub(r"typing\.Literal\[(.*?)\]", r"one of \1", text)
    text = text.replace("Expected a one of", "expected one of").replace("Expected a", "expected a")
    for kind, words in (("int", "whole number"), ("float", "number"), ("str", "text"), ("list", "list, [...]")):
        text = text.replace(f"expected a {kind}.", f"expected a {words}.")
    return text.replace(". Got value:", ", got")


def _check_keys(kind: type, values: Mapping[str, Any], source: str, prefix: str) -> None:
    hints = get_type_hints(kind)
    known = {f.name: f for f in fields(kind)}
    for name, value in values.items():
        if name not in known:
            raise RecipeError(f"{source}: unknown key {prefix + str(name)!r}; {did_you_mean(str(name), known)}")
        if is_dataclass(hints[name]):
            if not isinstance(value, Mapping):
                raise RecipeError(f"{source}: {prefix + name} holds keys such as {fields(hints[name])[0].name}:")
            _check_keys(hints[name], value, source, f"{prefix}{name}.")
    for name, f in known.items():
        if f.default is MISSING and f.default_factory is MISSING and values.get(name) is None:
            raise RecipeError(f"{source}: the key {prefix + name!r} is missing")
        if name in values and values[name] is None and f.default is not None:
            raise RecipeError(f"{source}: the key {prefix + name!r} is empty; leave it out to have the default")


def resolve(reference: str, what: str, wanted: type | tuple[type, ...]) -> Any:
    """Import ``module:function``, call it, and check what it gives.

    Args:
        reference: as a recipe holds it.
        what: the recipe's key, for messages.
        wanted: the type that must come back.
    """
    function = find_object(reference, what, RecipeError)
    try:
        value = function()
    except NetwrightError as error:
        raise RecipeError(f"{what}: {reference}() failed: {format_error(error)}") from error
    except (Exception, SystemExit) as error:
        raise RecipeError(f"{what}: {reference}() raised {format_error(error)}") from error
    names: Sequence[type] = wanted if isinstance(wanted, tuple) else (wanted,)
    if not isinstance(value, wanted):
        expected = " or ".join(f"netwright.{t.__name__}" for t in names)
        raise RecipeError(f"{what}: {reference}() must give a {expected}, but gave a {type(value).__name__}")
    return value
