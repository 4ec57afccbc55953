"""The lengths of texts that a recipe has networks measured at."""

from __future__ import annotations

from pathlib import Path

from ..core.errors import RecipeError
from ..core.registry import read_value, settings_of, split
from ..measure.lengths import Mix, grouped, parse_mix
from ..recipe.schema import Recipe
from ..tasks.files.preparation import Preparation, Tokenizer
from ..tasks.files.tables import SUFFIXES
from ..tasks.files.texts import text_lengths


def lengths_of(recipe: Recipe, prepared: Preparation, folder: str | None) -> Mix:
    """The lengths with their shares; none where the recipe names none.

    Args:
        recipe: of the job.
        prepared: what the recipe's model wants texts to be.
        folder: where the recipe lies, which a relative path starts from.

    Raises :class:`RecipeError` for what are none, and where the model takes no such texts.
    """
    text = recipe.lengths
    if not text:
        return ()
    name, *settings = split(text)
    tokenizer = prepared.tokenizer() if prepared.tokenizer is not None else None
    if Path(name).suffix in SUFFIXES:
        return grouped(_in_file(Path(folder or ".") / name, settings, tokenizer))
    try:
        mix = parse_mix(text)
    except ValueError:
        raise RecipeError(
            f"lengths is a number of tokens, such as 24, several with weights, such as 8:3,32:1, or a table of texts "
            f"({', '.join(SUFFIXES)}), not {text!r}"
        ) from None
    if tokenizer is not None and mix[-1][0] > tokenizer.most:
        raise RecipeError(f"lengths: the model takes {tokenizer.most} tokens, not {mix[-1][0]}")
    return mix


def _in_file(path: Path, settings: list[str], tokenizer: Tokenizer | None) -> list[int]:
    if tokenizer is None:
        raise RecipeError(
            "lengths: the model has no tokenizer, by which the lengths of the texts of a file are told: give lengths "
            "in tokens, such as 8:3,32:1"
        )
    if not path.exists():
        raise RecipeError(f"lengths: there is no file {path}")
    known = {name: kind for name, (kind, _) in settings_of(text_lengths).items() if name in ("text", "max_length")}
    given = {}
    for part in settings:
        name, _, value = (each.strip() for each in part.partition("="))
        if name not in known:
            raise RecipeError(f"lengths: {path.name} has no setting {name!r}; it takes {', '.join(known)}")
        try:
            given[name] = read_value(value, known[name])
        except ValueError as error:
            raise RecipeError(f"lengths: {name} must be {error}, not {value!r}") from None
    try:
        return text_lengths(path, tokenizer, **given)
    except RecipeError as error:
        raise RecipeError(str(error).replace("data: ", "lengths: ", 1)) from None
