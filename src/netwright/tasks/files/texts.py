"""Texts with a label: tables whose cells a pre-trained model's tokenizer makes numbers of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...core.errors import RecipeError, did_you_mean
from ..base import Task
from ..data import Data, PaddedSplit, Split
from ..outputs import IGNORED
from ..regression import Regression
from ..token_classification import TokenClassification
from .labels import Columns, classes, is_number, numbers, word_classes, words_of
from .preparation import Ids, Tokenizer
from .tables import read_columns, read_parts, require_cells, require_columns

TARGETS = (
    "label",
    "labels",
    "target",
    "score",
    "class",
    "category",
    "sentiment",
    "stars",
    "rating",
    "tags",
    "ner_tags",
)
"""What the column of the target is often called."""
SPACED = 1 / 3
"""The share of cells with a space in them from which a column is one of texts."""
FEW = 5
"""Rows that a message names."""


def texts(
    path: Path,
    task: Task,
    tokenizer: Tokenizer,
    classes: tuple[str, ...] = (),
    text: tuple[str, ...] = (),
    target: str = "",
    validation: str = "",
    test: str = "",
    validation_share: float = 0.2,
    test_share: float = 0.2,
    max_length: int = 0,
    pad_to: int = 0,
    seed: int = 0,
) -> Data:
    """Texts, or pairs of them, with a label each: a table whose first line names the columns, or JSON lines.

    Targets are numbers for regression, a class for each word for token classification (words and classes are lists, or
    stand between spaces), else a class.

    Args:
        path: the file; of the training rows alone where ``validation`` and ``test`` are given.
        task: what the data are for.
        tokenizer: of the model.
        classes: see :class:`~netwright.tasks.files.preparation.Preparation`.
        text: the column of the texts, or the two of pairs; by default the one or two that hold texts.
        target: the column of the target; by default one that is called so (label, score, ...), else the last that holds
            no texts.
        validation: a file of the validation rows, beside the first; by default a share of the first.
        test: likewise.
        validation_share: of the rows, about, drawn by a digest of each row.
        test_share: likewise.
        max_length: tokens that longer texts are cut to; by default none may be longer than the model takes.
        pad_to: tokens that all texts are filled up to, for targets that run one length alone; by default each batch is
            as long as its longest text.
        seed: of the draw of the shares.
    """
    rows = read_columns(path)
    tags = isinstance(task, TokenClassification)
    made: dict[str, Any]
    columns, wanted = _columns(rows, path, text, target)
    used = (*columns, wanted)
    if not tags:
        require_cells(rows, used, path)
    _require_filled(rows, columns, path)
    parts = read_parts(path, rows, validation, test, validation_share, test_share, seed)
    require_columns(parts, used, path, validation, test)
    longest, cuts = _longest(tokenizer, max_length, pad_to), bool(max_length or pad_to)
    if tags:
        made, names, told = _tagged(parts, columns, wanted, tokenizer, longest, cuts, pad_to, classes)
    else:
        labels, names = _labels(wanted, parts, path, task, classes)
        ids, told = _encoded(parts, columns, tokenizer, longest, cuts)
        made = {part: _split(ids[part], labels[part], tokenizer, pad_to) for part in parts}
    sizes = ", ".join(f"{len(made[part])} {part}" for part in ("train", "validation", "test"))
    notes = (
        f"data: {path.name}, {' and '.join(map(repr, columns))} to {wanted!r}"
        + (f" ({_told_classes(names)})" if names else "")
        + f"; {sizes} rows; {told}",
    )
    return Data(**made, classes=names, notes=notes)


def text_lengths(path: Path, tokenizer: Tokenizer, text: tuple[str, ...] = (), max_length: int = 0) -> list[int]:
    """How many tokens the texts of a table have, of which no target is needed.

    Args:
        path: the file.
        tokenizer: of the model.
        text: the column of the texts, or the two of pairs; by default the one or two that hold texts.
        max_length: tokens that longer texts are cut to; by default none may be longer than the model takes.
    """
    rows = read_columns(path)
    others = [name for name in rows if name.lower() not in TARGETS and _holds_texts(rows[name])]
    columns = _of_texts(tuple(text) or tuple(others), rows, path)
    require_cells(rows, columns, path)
    _require_filled(rows, columns, path)
    ids, _ = _encoded({"lengths": rows}, columns, tokenizer, _longest(tokenizer, max_length, 0), bool(max_length))
    return [len(row) for row in ids["lengths"]["attention_mask"]]


# -- columns ------------------------------------------------------------------------------------------------------


def _columns(rows: Columns, path: Path, text: Sequence[str], target: str) -> tuple[tuple[str, ...], str]:
    """The columns of the texts and of the target, as given or guessed."""
    if target and target not in rows:
        raise RecipeError(f"data: {path.name} has no column {target!r}; {did_you_mean(target, rows)}")
    others = [name for name in rows if name not in text]
    named = [name for name in others if name.lower() in TARGETS]
    wanted = target or next(iter(named or [n for n in reversed(others) if not _holds_texts(rows[n])]), "")
    if not wanted:
        raise RecipeError(f"data: which column of {path.name} is the target is not known: give target=NAME, one of "
                          f"{', '.join(rows)}")  # fmt: skip
    found = tuple(text) or tuple(name for name in rows if name != wanted and _holds_texts(rows[name]))
    return _of_texts(found, {name: rows[name] for name in rows if name != wanted}, path), wanted


def _of_texts(found: tuple[str, ...], rows: Columns, path: Path) -> tuple[str, ...]:
    """The columns of the texts. Raises :class:`RecipeError` where they are not there, or not one or two."""
    for name in found:
        if name not in rows:
            raise RecipeError(f"data: {path.name} has no column {name!r}; {did_you_mean(name, rows)}")
    if len(found) not in (1, 2):
        raise RecipeError(
            f"data: {path.name} has {len(found)} columns of texts ({', '.join(found) or 'none'}): give text=NAME, or "
            f"text=(ONE,OTHER) for pairs, of {', '.join(rows)}"
        )
    return found


def _holds_texts(values: Sequence[Any]) -> bool:
    some = [value for value in values[:1000] if value != ""]
    words = [isinstance(value, list) or (isinstance(value, str) and " " in value.strip()) for value in some]
    return bool(some) and sum(words) >= SPACED * len(some) and not all(is_number(value) for value in some)


def _require_filled(rows: Columns, columns: Sequence[str], path: Path) -> None:
    """Raise :class:`RecipeError` for rows without a text."""
    for name in columns:
        empty = [i + 1 for i, cell in enumerate(rows[name]) if not words_of(cell)]
        if empty:
            which = ", ".join(map(str, empty[:FEW])) + (", ..." if len(empty) > FEW else "")
            raise RecipeError(
                f"data: the text {name!r} of {path.name} is empty in {len(empty)} of {len(rows[name])} rows (row "
                f"{which} below the names): leave them out"
            )


def _labels(
    name: str, parts: Mapping[str, Columns], path: Path, task: Task, known: tuple[str, ...]
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    if isinstance(task, Regression):
        return numbers(name, parts), ()
    return classes(name, parts, path, known)


def _told_classes(names: Sequence[str]) -> str:
    listed = ", ".join(names[:FEW]) + (", ..." if len(names) > FEW else "")
    return f"{len(names)} classes: {listed}"


# -- tokens -------------------------------------------------------------------------------------------------------


def _longest(tokenizer: Tokenizer, max_length: int, pad_to: int) -> int:
    """Tokens that a text may have."""
    for name, given in (("max_length", max_length), ("pad_to", pad_to)):
        if given < 0 or given > tokenizer.most:
            raise RecipeError(
                f"data: {name} is a number of tokens from 1 to the {tokenizer.most} that the model takes, not {given}"
            )
    if max_length and pad_to and max_length > pad_to:
        raise RecipeError(f"data: texts of max_length={max_length} tokens do not fit in pad_to={pad_to}")
    return max_length or pad_to or tokenizer.most


def _encoded(
    parts: Mapping[str, Columns], names: Sequence[str], tokenizer: Tokenizer, longest: int, cuts: bool
) -> tuple[dict[str, Ids], str]:
    """The ids of each part, and how long texts are."""

    def encode(longest: int) -> dict[str, Ids]:
        texts = {part: [[str(cell) for cell in columns[name]] for name in names] for part, columns in parts.items()}
        return {
            part: tokenizer.encode(one, other[0] if other else None, longest) for part, (one, *other) in texts.items()
        }

    whole = encode(0)
    told = _told_lengths(whole, longest, cuts)
    return encode(longest) if cuts else whole, told


def _told_lengths(ids: Mapping[str, Ids], longest: int, cuts: bool) -> str:
    """How long texts are. Raises :class:`RecipeError` for longer ones than the model takes, unless they are cut."""
    found = [len(row) for part in ids.values() for row in part["attention_mask"]]
    over = sum(n > longest for n in found)
    if over and not cuts:
        raise RecipeError(
            f"data: {over} of {len(found)} texts have more than the {longest} tokens that the model takes, the longest "
            f"{max(found)}: give max_length={longest}, which cuts them, or leave them out"
        )
    told = f"{min(found)} to {max(found)} tokens"
    return f"{told}, {over} longer than {longest} are cut" if over else told


def _split(ids: Ids, targets: Tensor, tokenizer: Tokenizer, pad_to: int, by_position: bool = False) -> Split:
    """The shortest texts first, which are judged together; training draws an order of its own."""
    lengths = torch.tensor([len(row) for row in ids["attention_mask"]])
    order = torch.sort(lengths, stable=True).indices
    size = pad_to or int(lengths.max())
    inputs = {name: filled(rows, size, tokenizer.padding[name])[order] for name, rows in ids.items()}
    if pad_to:
        return Split(inputs, targets[order])
    return PaddedSplit(inputs, targets[order], by_position=by_position)


def filled(rows: Sequence[Sequence[int]], size: int, value: int) -> Tensor:
    """Rows of whole numbers as one tensor (n, size), filled at their ends."""
    return torch.tensor([[*row, *[value] * (size - len(row))] for row in rows])


# -- a class for each word ----------------------------------------------------------------------------------------


def _tagged(
    parts: Mapping[str, Columns],
    columns: Sequence[str],
    wanted: str,
    tokenizer: Tokenizer,
    longest: int,
    cuts: bool,
    pad_to: int,
    known: tuple[str, ...],
) -> tuple[dict[str, Split], tuple[str, ...], str]:
    """The parts of texts with a class for each word: its first token has it, others do not count."""
    if len(columns) != 1:
        raise RecipeError(f"data: words are in one column, not in {' and '.join(columns)}: give text=NAME")
    found, names = word_classes(wanted, parts, known)
    words = {part: [words_of(cell) for cell in each[columns[0]]] for part, each in parts.items()}
    for part, rows in words.items():
        for i, (row, labels) in enumerate(zip(rows, found[part], strict=True)):
            if len(row) != len(labels):
                raise RecipeError(
                    f"data: {part} row {i + 1} has {len(row)} words in {columns[0]!r} and {len(labels)} classes in "
                    f"{wanted!r}: it needs one for each"
                )
    encoded = {part: tokenizer.encode_words(rows, 0) for part, rows in words.items()}
    told = _told_lengths({part: ids for part, (ids, _) in encoded.items()}, longest, cuts)
    if cuts:
        encoded = {part: tokenizer.encode_words(rows, longest) for part, rows in words.items()}
    made = {}
    for part, (ids, places) in encoded.items():
        size = pad_to or max(len(row) for row in places)
        tags = [_by_token(labels, own) for labels, own in zip(found[part], places, strict=True)]
        made[part] = _split(ids, filled(tags, size, IGNORED), tokenizer, pad_to, by_position=True)
    return made, names, told


def _by_token(labels: Sequence[int], places: Sequence[int | None]) -> list[int]:
    """The class of each token."""
    first = [own is not None and own != before for before, own in pairwise([None, *places])]
    return [labels[own] if new and own is not None else IGNORED for new, own in zip(first, places, strict=True)]
