"""What stands in the column of a target: numbers, classes by index or by name, a class for each word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...core.errors import RecipeError, did_you_mean
from ...core.shape import told

MOST_NUMBER = 3.4028234e38
"""What float32 can hold."""
MOST_CLASSES = 1 << 24
"""More than any network tells apart."""

Columns = Mapping[str, Sequence[Any]]


def is_number(value: Any) -> bool:
    """Whether a cell is a number or the text of one."""
    try:
        return float(value) is not None
    except (TypeError, ValueError):
        return False
    except OverflowError:  # a whole number beyond all floats
        return True


def number(value: Any, name: str) -> float:
    """A cell of a column of numbers, which networks can compute with."""
    if not is_number(value):
        raise RecipeError(f"data: the column {told(name)} holds numbers, but one is {told(str(value))}")
    if (isinstance(value, int) and abs(value) > MOST_NUMBER) or not abs(found := float(value)) <= MOST_NUMBER:
        raise RecipeError(
            f"data: the column {told(name)} holds {told(value)}, which is no finite number of 32 bits: leave the cell "
            "empty where nothing is known"
        )
    return found


def numbers(name: str, parts: Mapping[str, Columns]) -> dict[str, Tensor]:
    """A target of numbers by part, float32 of shape (n,)."""
    every = _filled(name, parts)
    return {
        part: torch.tensor([number(value, name) for value in column], dtype=torch.float32)
        for part, column in every.items()
    }


def classes(
    name: str, parts: Mapping[str, Columns], path: Path, known: Sequence[str] = ()
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """A target of classes by part, int64 of shape (n,), and the names of the classes in the order of their indices.

    Whole numbers are indices as they are; texts are counted in the order of ``known``, else of their letters.

    Args:
        name: the column.
        parts: the columns of each part.
        path: the file, for messages.
        known: the classes that a trained head has, in its order; capitals make no difference.
    """
    every = _filled(name, parts)
    values = {value for column in every.values() for value in column}
    numeric = [value for value in values if is_number(value) and not isinstance(value, bool)]
    if wrong := [value for value in numeric if not number(value, name).is_integer()]:
        raise RecipeError(
            f"data: the target {told(name)} of {path.name} holds numbers such as {told(min(wrong))}, which are no "
            "classes: give task: regression, or name another column with target="
        )
    if len(numeric) == len(values):
        if wrong := [value for value in numeric if not 0 <= number(value, name) < MOST_CLASSES]:
            raise RecipeError(
                f"data: the target {told(name)} of {path.name} holds {told(wrong[0])}, which is no index of a class: "
                "these count from 0"
            )
        found = {part: torch.tensor([int(float(value)) for value in column]) for part, column in every.items()}
        return found, _counted(max(int(float(value)) for value in numeric) + 1, known)
    order = order_of({str(value) for value in values}, known, f"the target {told(name)} of {path.name}")
    index = {text: i for i, text in enumerate(order)}
    return {
        part: torch.tensor([_index(str(value), index) for value in column]) for part, column in every.items()
    }, order


def order_of(texts: set[str], known: Sequence[str], what: str) -> tuple[str, ...]:
    """The names of classes in the order of their indices: of those that a trained head has, else of their letters.

    Classes are others altogether, for which a head is new, where they are of another number and the head has none of
    them. Raises :class:`RecipeError` for some that the head has and some that it does not have.
    """
    lower = {each.lower() for each in known}
    missing = sorted(text for text in texts if text.lower() not in lower)
    if not known or (len(missing) == len(texts) != len(known)):
        return tuple(sorted(texts))
    if missing:
        raise RecipeError(
            f"data: {what} has a class {missing[0]!r}, which the head of the model does not have; "
            f"{did_you_mean(missing[0], known)}; where classes are others, model: MODEL,head=new has a new head"
        )
    return tuple(known)


def word_classes(
    name: str, parts: Mapping[str, Columns], known: Sequence[str] = ()
) -> tuple[dict[str, list[list[int]]], tuple[str, ...]]:
    """A target of a class for each word by part, and the names of the classes; see :func:`classes`."""
    every = {part: [words_of(cell) for cell in columns[name]] for part, columns in parts.items()}
    tags = {str(tag) for rows in every.values() for row in rows for tag in row}
    if all(tag.isdecimal() for tag in tags):
        found = {part: [[int(tag) for tag in row] for row in rows] for part, rows in every.items()}
        return found, _counted(max(map(int, tags)) + 1, known)
    order = order_of(tags, known, f"the target {told(name)}")
    index = {text: i for i, text in enumerate(order)}
    return {part: [[_index(tag, index) for tag in row] for row in rows] for part, rows in every.items()}, order


def words_of(cell: Any) -> list[str]:
    """The words of a cell: a list as it is, a text between its spaces."""
    return [str(each) for each in cell] if isinstance(cell, list) else str(cell).split()


def _counted(count: int, known: Sequence[str]) -> tuple[str, ...]:
    """The names of classes that are indices: those of the head where it has so many."""
    return tuple(known) if len(known) >= count else tuple(str(i) for i in range(min(count, MOST_CLASSES)))


def _index(text: str, index: Mapping[str, int]) -> int:
    if text in index:
        return index[text]
    return next(i for name, i in index.items() if name.lower() == text.lower())


def _filled(name: str, parts: Mapping[str, Columns]) -> dict[str, Sequence[Any]]:
    """The column of each part. Raises :class:`RecipeError` where a cell is empty."""
    every = {part: columns[name] for part, columns in parts.items()}
    for part, column in every.items():
        if "" in column:
            raise RecipeError(f"data: the target {name!r} is empty in {column.count('')} {part} rows: leave them out")
    return every
