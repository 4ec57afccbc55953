"""The arguments of a verb that works on a recipe: every key of the recipe is a flag."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from ..core.errors import NetwrightError
from ..core.registry import split
from ..pipeline.callback import Callback
from ..pipeline.context import Context, open_run
from ..recipe.load import Given, builtin, folder_of, kinds_in, list_keys, load, name_of, parser_message, parser_of
from ..recipe.schema import Recipe
from ..study.failures import RETRIES
from .arguments import mistake


def recipe_parser(verb: str, description: str) -> Any:
    """A parser of a verb that works on a recipe: every key of the recipe is a flag."""
    parser = parser_of(
        Recipe,
        # The first two are the recipe, the next two may be given again, and the last is written by 'netwright space'.
        skip={"model", "data", "limits", "target", "choices"},
        prog=f"netwright {verb}",
        description=description,
        usage=(
            f"netwright {verb} RECIPE [--out DIR] [--limit LIMIT ...] [--KEY VALUE ...]\n"
            f"       netwright {verb} --model MODEL --task TASK --data DATA [--out DIR] [--limit LIMIT ...] ..."
        ),
        allow_abbrev=False,
    )
    names = ", ".join(builtin())
    parser.add_argument("recipe", nargs="?", help=f"a built-in recipe ({names}) or the path of a .yaml file")
    parser.add_argument("--model", help="in place of a recipe: a pre-trained model; see 'model' of a recipe")
    parser.add_argument("--data", help="what it is for; see 'data' of a recipe")
    parser.add_argument("--out", help="output directory (default: runs/ and the name of the recipe)")
    runtimes = ", ".join(dict(kinds_in(Recipe))["target"].names())
    parser.add_argument(
        "--target",
        action="append",
        help=f"where networks will run, such as onnxruntime,threads=2 or ssh://pi/onnxruntime (default: onnxruntime); "
        f"given again, they are measured on each. One of {runtimes}, or module:Class; settings follow: name,key=value.",
    )
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
        text = mistake(parser_message(error), parser)
        if "Unable to load config" in text:
            key = text.split("'")[1]
            text = f"{key!r} holds keys of its own; write them out, for example --{key}.{_first_key(parser, key)} VALUE"
        raise NetwrightError(text) from None
    return {name: value for name, value in given.items() if value is not None}


def asked(given: Mapping[str, Any]) -> tuple[Given, str, dict[str, Any]]:
    """The recipe, the output directory and the recipe's keys that were given. With ``--model`` alone there is no recipe
    but these keys."""
    overrides = {name: value for name, value in given.items() if name not in ("recipe", "out", "limit", "retry")}
    for name in ("model", "data", "lengths"):
        if name in overrides:
            overrides[name] = _from_anywhere(overrides[name])
    if "limit" in given:
        overrides["limits"] = given["limit"]
    if "target" in given:
        overrides["target"] = given["target"] if len(given["target"]) > 1 else given["target"][0]
    if "recipe" in given:
        return given["recipe"], given.get("out", f"runs/{name_of(given['recipe'])}"), overrides
    if "model" not in given:
        raise NetwrightError(
            f"name a recipe ({', '.join(builtin())}, or the path of a .yaml file), or a pre-trained model with --model"
        )
    name = Path(split(given["model"])[0].strip()).resolve().name.replace(":", "-")
    return {}, given.get("out", f"runs/{name}"), overrides


def _from_anywhere(reference: str) -> str:
    """A path with settings as one that holds in other working directories too; what is no path as it is."""
    path, *settings = split(reference)
    return ",".join([str(Path(path).absolute()), *settings]) if Path(path.strip()).exists() else reference


def job_of(given: Mapping[str, Any]) -> tuple[Recipe, str, str, str | None]:
    """The job that the arguments of :func:`recipe_parser` describe: its recipe, its directory, what the recipe is
    called, and the folder of the recipe's own code."""
    recipe, out, overrides = asked(given)
    return load(recipe, overrides), out, name_of(recipe), folder_of(recipe)


def opened(given: Mapping[str, Any], callback: Callback) -> AbstractContextManager[Context]:
    """The same job, while it is worked on."""
    return open_run(*job_of(given), callback)


def _first_key(parser: Any, key: str) -> str:
    flags = [s for action in parser._actions for s in action.option_strings]
    return next(f.removeprefix(f"--{key}.") for f in flags if f.startswith(f"--{key}."))


def _lists(arguments: Sequence[str]) -> list[str]:
    """``a,b`` as ``["a", "b"]`` after a flag that takes a list."""
    lists = {f"--{key}" for key in list_keys(Recipe)}
    read: list[str] = []
    for i, argument in enumerate(arguments):
        flag, equals, value = argument.partition("=")
        if equals and flag in lists and not value.startswith("["):
            argument = f"{flag}={_list(value)}"
        elif i and arguments[i - 1] in lists and not argument.startswith("["):
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
