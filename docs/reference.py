"""Reference pages that are written when the documentation is built: every key of a recipe, every public name."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import docstring_parser

import netwright as nw
from netwright.core.registry import Registry, write_value
from netwright.recipe.schema import Recipe, registry_of

KINDS = (
    "tasks:TASKS",
    "tasks:METRICS",
    "training.rules:RULES",
    "training.sampling:SAMPLINGS",
    "training.distillation:DISTILLATIONS",
    "training.optimizers:OPTIMIZERS",
    "training.schedules:SCHEDULES",
    "nets.importance:CRITERIA",
    "nets.blocks:BLOCKS",
    "nets.precisions:PRECISIONS",
    "nets.sensitivity:SENSITIVITIES",
    "core.ranges:RANGES",
    "strategies:STRATEGIES",
    "strategies.predict:PREDICTORS",
    "study.stores:STORES",
    "study.executors:EXECUTORS",
    "study.warm_starts:WARM_STARTS",
    "measure.runtimes:RUNTIMES",
    "measure.meters:METERS",
    "formats:FORMATS",
    "report.sections:SECTIONS",
    "trackers:TRACKERS",
    "sources.checkpoints:CHECKPOINTS",
)
"""The registries, in the order of the page: module of netwright and name."""

PARTS = {
    "core": "Spaces, records and fronts",
    "nets": "Super-networks and their axes",
    "tasks": "Tasks and data",
    "training": "Training",
    "measure": "Measuring",
    "strategies": "Strategies",
    "study": "Studies",
    "simple": "Any function",
    "sources": "Tables of measured networks",
    "formats": "Files",
    "pipeline": "The whole job",
    "recipe": "Recipes",
}
"""Package to the heading of its names, in the order of the page."""


def main() -> None:
    """Write the pages beside this file."""
    folder = Path(__file__).parent
    (folder / "recipe-reference.md").write_text(recipe_page())
    (folder / "python.md").write_text(python_page())


# -- recipes -------------------------------------------------------------------------------------------------------


def recipe_page() -> str:
    """Every key of a recipe, and every name that a key may have, as Markdown."""
    lines = [
        "# Recipe reference",
        "",
        "A recipe is a YAML file; each key is a flag of the commands too (`--train.epochs 10`). An unknown key is an "
        "error that names the nearest known one. [Your own model and data](recipes.md) begins from the beginning.",
        "",
        *_keys(Recipe, ""),
    ]
    for kind in map(registry, KINDS):
        lines += ["", f"({anchor(kind)})=", f"## Names: {kind.kind}", "", *_names(kind)]
    return "\n".join([*lines, ""])


def registry(place: str) -> Registry[Any]:
    """The registry at one of :data:`KINDS`."""
    module, _, name = place.partition(":")
    found: Registry[Any] = getattr(import_module(f"netwright.{module}"), name)
    return found


def anchor(kind: Registry[Any]) -> str:
    """Where the page has the names of a kind."""
    return f"names-{kind.kind.replace(' ', '-')}"


def _keys(kind: type, prefix: str) -> Iterator[str]:
    """A table of the keys of one dataclass, then those of the dataclasses in it."""
    hints, texts = get_type_hints(kind), attribute_texts(kind)
    plain = [f for f in fields(kind) if not is_dataclass(hints[f.name])]
    yield from (f"## `{prefix[:-1]}:`", "", sentence(kind)) if prefix else ("## The whole job",)
    yield from ("", "| key | type | default | |", "|---|---|---|---|")
    for f in plain:
        named = registry_of(f)
        words = f"[{named.kind}](#{anchor(named)})" if named else type_words(hints[f.name])
        yield f"| `{prefix}{f.name}` | {words} | {_default(f)} | {cell(texts[f.name])} |"
    for f in fields(kind):
        if is_dataclass(hints[f.name]):
            yield ""
            yield from _keys(hints[f.name], f"{prefix}{f.name}.")


def attribute_texts(kind: type) -> dict[str, str]:
    """The strings below the attributes of a dataclass, by name."""
    found = docstring_parser.parse_from_object(kind)
    return {p.arg_name: " ".join((p.description or "").split()) for p in found.params}


def _default(f: Field[Any]) -> str:
    default = f.default if f.default_factory is MISSING else f.default_factory()
    if default is MISSING:
        return "required"
    if default in (None, "", []):
        return ""
    return f"`[{', '.join(map(write_value, default))}]`" if isinstance(default, list) else f"`{write_value(default)}`"


def _names(kind: Registry[Any]) -> Iterator[str]:
    """A table of the names of a kind, their settings and what they are."""
    yield from (f"`name,setting=value`, or `module:Class` of your own; packages bring more as `{kind.group}`.", "")
    if not kind.names():
        yield "None comes with netwright."
        return
    yield from ("| name | settings | |", "|---|---|---|")
    for name in kind.names():
        settings = kind.settings(name)
        texts = [f"`{key}={write_value(default)}`" if default is not MISSING else f"`{key}=...`"
                 for key, (_, default) in settings.items()]  # fmt: skip
        yield f"| `{name}` | {cell(', '.join(texts))} | {cell(sentence(kind.cls(name)))} |"


def type_words(kind: Any) -> str:
    """A type as a person writes a value of it."""
    origin, parts = get_origin(kind), get_args(kind)
    words = {int: "whole number", float: "number", str: "text", bool: "true or false", type(None): "empty"}
    if origin is Literal:
        return cell(", ".join(f"`{part}`" for part in parts))
    if origin in (Union, types.UnionType):
        return " or ".join(type_words(part) for part in parts if part is not type(None))
    if origin in (list, tuple):
        return f"list of {type_words(parts[0])}"
    return words.get(kind, f"`{getattr(kind, '__name__', kind)}`")


# -- Python --------------------------------------------------------------------------------------------------------


def python_page() -> str:
    """Every public name, by the package that it lives in, as Markdown with directives of autodoc."""
    groups: dict[str, list[str]] = {package: [] for package in PARTS}
    for name in nw.__all__:
        if name in nw._HOME:
            groups[nw._HOME[name].partition(".")[0]].append(name)
    lines = [
        "# Python reference",
        "",
        "`import netwright as nw` is light: torch is imported by the first name that needs it.",
    ]
    shown: set[int] = set()
    for package, names in groups.items():
        if names:
            lines += ["", f"## {PARTS[package]}", "", *_directives("netwright", names, shown)]
    for name in sorted(nw._MODULES):
        module, names = getattr(nw, name), public(name)
        lines += ["", f"## `nw.{name}`", "", sentence(module), "", *_directives(f"netwright.{name}", names, shown)]
    return "\n".join([*lines, ""])


def public(module: str) -> list[str]:
    """The public names of one of ``nw.tasks``, ``nw.rules``, ..."""
    found = getattr(nw, module)
    own = [name for name, value in vars(found).items() if getattr(value, "__module__", "") == found.__name__]
    return list(getattr(found, "__all__", [name for name in own if not name.startswith("_")]))


def _directives(where: str, names: Iterable[str], shown: set[int]) -> Iterator[str]:
    """A list of names with a sentence each, then each by itself unless it was ``shown`` already."""
    names = list(names)
    yield from ("```{eval-rst}", ".. autosummary::", "   :nosignatures:", "")
    yield from (f"   {where}.{name}" for name in names)
    yield ""
    owner = import_module("netwright") if where == "netwright" else getattr(nw, where.rpartition(".")[2])
    for name in names:
        value = getattr(owner, name)
        if id(value) in shown:
            continue
        shown.add(id(value))
        if isinstance(value, type):
            kind, members = "exception" if issubclass(value, BaseException) else "class", ["   :members:"]
        else:
            kind, members = "function" if inspect.isfunction(value) else "data", []
        yield from (f".. auto{kind}:: {where}.{name}", *members)
    yield "```"


# -- texts ---------------------------------------------------------------------------------------------------------


def sentence(value: Any) -> str:
    """The first sentence of a docstring, as Markdown; empty where there is none."""
    text = " ".join((inspect.getdoc(value) or "").partition("\n\n")[0].split())
    text = re.sub(r":\w+:`~?([^`]*)`", r"`\1`", text)
    return re.split(r"(?<=[.:?])\s(?=[A-Z`])", text)[0].rstrip(":")


def cell(text: str) -> str:
    """A text that may stand in a cell of a table."""
    return text.replace("|", "\\|").replace("*", "\\*")


if __name__ == "__main__":
    main()
