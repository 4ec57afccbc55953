"""Flags: those of a verb, and those that come from the recipe's own types and texts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonargparse

from ..core.errors import NetwrightError, did_you_mean
from ..core.registry import split
from ..pipeline.job import Job, Watch
from ..recipe.load import builtin, load, parse, parser_message, parser_of
from ..recipe.schema import Recipe
from ..study.failures import RETRIES
from ..study.journal import Journal, read_journal
from ..study.stores.sqlite import SqliteStore

LISTS = ("--objectives", "--export.formats")


def verb_parser(verb: str, description: str) -> Any:
    """A parser of a verb that takes only what is added to it."""
    return jsonargparse.ArgumentParser(
        prog=f"netwright {verb}", description=description, exit_on_error=False, allow_abbrev=False
    )


def recipe_parser(verb: str, description: str) -> Any:
    """A parser of a verb that works on a recipe: every key of the recipe is a flag."""
    parser = parser_of(
        Recipe,
        skip={"model", "data", "limits"},  # the first two are the recipe; limits have a flag of their own
        prog=f"netwright {verb}",
        description=description,
        usage=f"netwright {verb} RECIPE [--out DIR] [--limit LIMIT ...] [--KEY VALUE ...]",
        allow_abbrev=False,
    )
    parser.add_argument("recipe", help=f"a built-in recipe ({', '.join(builtin())}) or the path of a .yaml file")
    parser.add_argument("--out", help="output directory (default: runs/ and the name of the recipe)")
    parser.add_argument("--limit", action="append", help='a bound such as "latency <= 5 ms"; may be given again')
    return parser


def search_parser(verb: str, description: str) -> Any:
    """A parser of a verb that works on a recipe and measures networks."""
    parser = recipe_parser(verb, description)
    parser.add_argument("--retry", choices=RETRIES, help="measure again the networks that could not be measured")
    return parser


def read(parser: Any, arguments: Sequence[str]) -> dict[str, Any]:
    """What was given, by dotted name and without defaults. Raises with the nearest flag for one that is unknown."""
    try:
        given: dict[str, Any] = parser.parse_args(_lists(arguments), defaults=False).as_flat().__dict__
    except Exception as error:  # argparse's and jsonargparse's own types
        text = parser_message(error)
        marker = "unrecognized arguments: "
        if marker in text:
            flag = text[text.index(marker) + len(marker) :].split()[0]
            flags = [s for action in parser._actions for s in action.option_strings if s.startswith("--")]
            name = flag.split("=")[0]
            inner = [f for f in flags if name.startswith("--") and f.endswith(f".{name[2:]}")]
            known = f"did you mean {' or '.join(map(repr, inner))}?" if inner else did_you_mean(name, flags)
            if not flag.startswith("-"):
                text = (
                    f"{flag!r} is one argument too many; a directory follows --out, each limit its own --limit, and a "
                    "list is written with commas: accuracy,latency"
                )
            else:
                text = f"there is no {flag!r}; {known if 'did you' in known else 'its --help lists what there is'}"
        if "Unable to load config" in text:
            key = text.split("'")[1]
            text = f"{key!r} holds keys of its own; write them out, for example --{key}.{_first_key(parser, key)} VALUE"
        raise NetwrightError(text) from None
    return {name: value for name, value in given.items() if value is not None}


def _first_key(parser: Any, key: str) -> str:
    flags = [s for action in parser._actions for s in action.option_strings]
    return next(f.removeprefix(f"--{key}.") for f in flags if f.startswith(f"--{key}."))


def recipe_job(given: Mapping[str, Any], watch: Watch) -> Job:
    """The job that the arguments of :func:`recipe_parser` describe."""
    flags = {name: value for name, value in given.items() if name not in ("recipe", "out", "limit", "retry")}
    if "limit" in given:
        flags["limits"] = given["limit"]
    name = Path(given["recipe"]).stem
    path = Path(given["recipe"])
    folder = str(path.resolve().parent) if path.suffix in (".yaml", ".yml") else None
    return Job(load(given["recipe"], flags), given.get("out", f"runs/{name}"), name, watch, folder)


def kept_job(out: str, watch: Watch) -> Job:
    """The job of an output directory, by the recipe that it holds."""
    path = Path(out) / "recipe.json"
    if not path.is_file():
        raise NetwrightError(f"{out} holds no recipe.json: it is not the output directory of a netwright job")
    try:
        kept = json.loads(path.read_text())
        recipe = parse(kept["recipe"], str(path), folder=kept["folder"])
        name = kept["name"]
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, NetwrightError):
            raise
        raise NetwrightError(f"{path} is damaged ({error}); 'netwright search' with the recipe mends it") from None
    return Job(recipe, out, name, watch, kept["folder"])


def journal_of(path: str | Path) -> Journal:
    """The journal of a study: the path of a ``study.db`` or of the directory that holds it."""
    path = Path(path)
    return read_journal(SqliteStore(path / "study.db" if path.is_dir() else path, must_exist=True))


def _lists(arguments: Sequence[str]) -> list[str]:
    """``a,b`` as ``["a", "b"]`` after a flag that takes a list."""
    read: list[str] = []
    for i, argument in enumerate(arguments):
        flag, equals, value = argument.partition("=")
        if equals and flag in LISTS and not value.startswith("["):
            argument = f"{flag}={_list(value)}"
        elif i and arguments[i - 1] in LISTS and not argument.startswith("["):
            argument = _list(argument)
        read.append(argument)
    return read


def _list(text: str) -> str:
    """The parts between commas as JSON; settings stay with what they are of: ``onnx,external_data=true,pt2`` is two."""
    parts: list[str] = []
    for part in split(text):
        if "=" in part and parts:
            parts[-1] += f",{part}"
        else:
            parts.append(part.strip())
    return json.dumps(parts)
