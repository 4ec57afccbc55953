"""YAML that somebody else may have written: bounded, of plain values, each key once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ..core.errors import RecipeError, format_error
from ..core.files import read_bytes
from ..core.shape import told
from .schema import Recipe

MOST_BYTES = 200_000
MOST_VALUES = 10_000
"""Values of a file, where each alias counts as all that it stands for."""
MOST_DEPTH = 30
MOST_LETTERS = 5000
"""Of one text: more than the longest path has."""


def read_yaml(path: Path) -> Any:
    """The plain values of a YAML file. Raises :class:`RecipeError` for what holds others, or is too large."""
    try:
        return parse_yaml(read_bytes(path, MOST_BYTES).decode("utf-8-sig"), str(path))
    except FileNotFoundError:
        raise RecipeError(f"there is no recipe file {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not YAML in UTF-8: {format_error(error)}") from None


def parse_yaml(text: str, where: str) -> Any:
    """The plain values of a YAML text; ``where`` it comes from, for messages."""
    try:
        _check_size(text)
        value = yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date or a number that is none
        raise RecipeError(f"{where} is not YAML that a recipe can be: {format_error(error)}") from None
    _check_plain(value, where, "")
    return value


def written(recipe: Recipe) -> str:
    """A recipe as YAML that :func:`netwright.recipe.load.load` reads: the keys that are not as they are by default."""
    plain = Recipe(model=recipe.model, data=recipe.data, task=recipe.task).to_json()
    needed = ("model", "data", "objectives")
    told = {key: value for key, value in _changed(recipe.to_json(), plain, needed).items() if value not in ("", {})}
    return str(yaml.safe_dump(told, sort_keys=False, allow_unicode=True, width=120))


def _changed(values: Mapping[str, Any], plain: Mapping[str, Any], needed: Sequence[str] = ()) -> dict[str, Any]:
    """The values that differ from others, and those that are needed."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and isinstance(plain.get(key), dict) and plain[key]:
            found[key] = _changed(value, plain[key])
        elif value != plain.get(key) or key in needed:
            found[key] = value
    return found


class _Loader(yaml.SafeLoader):
    """Takes no key twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, _ in node.value:
                if key.value in seen and isinstance(key, yaml.ScalarNode):
                    raise yaml.MarkedYAMLError(None, None, f"the key {key.value!r} stands there twice", key.start_mark)
                seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def _check_size(text: str) -> None:
    """Raise ValueError for what would become too large or too deep, before anything is made of it."""
    sizes: dict[str | None, int] = {}  # of anchors
    open_: list[tuple[str | None, int]] = [(None, 0)]  # the anchor and the size so far of each that is not closed yet
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, size = open_.pop()
        elif isinstance(event, yaml.CollectionStartEvent):
            open_.append((event.anchor, 1))
            if len(open_) > MOST_DEPTH:
                raise ValueError(f"it is nested more than {MOST_DEPTH} deep{_line(event)}")
            continue
        elif isinstance(event, yaml.AliasEvent):
            anchor, size = None, sizes.get(event.anchor, MOST_VALUES + 1)  # one within itself has no end
        elif isinstance(event, yaml.ScalarEvent):
            anchor, size = event.anchor, 1
        else:
            continue
        if anchor is not None:
            sizes[anchor] = size
        open_[-1] = open_[-1][0], open_[-1][1] + size
        if open_[-1][1] > MOST_VALUES:
            raise ValueError(f"it holds more than {MOST_VALUES:,} values{_line(event)}")


def _line(event: yaml.Event) -> str:
    return f" (line {event.start_mark.line + 1})" if event.start_mark else ""


def _check_plain(value: Any, where: str, at: str) -> None:
    """Raise :class:`RecipeError` for values that JSON has not."""
    place = f"{where}: {at or 'it'}"
    match value:
        case dict():
            for key, each in value.items():
                if not isinstance(key, str):
                    raise RecipeError(f"{place} has {told(key)} as a key, which must be a text: put it in quotes")
                _check_plain(each, where, f"{at}.{key}".removeprefix("."))
        case list():
            for i, each in enumerate(value):
                _check_plain(each, where, f"{at}[{i}]")
        case str() if len(value) > MOST_LETTERS:
            raise RecipeError(
                f"{place} has {len(value):,} letters, of which a recipe's texts have {MOST_LETTERS} at most"
            )
        case None | bool() | int() | float() | str():
            pass
        case _:
            raise RecipeError(f"{place} must be a text, a number, a list or keys, not {told(value)}: put it in quotes")
