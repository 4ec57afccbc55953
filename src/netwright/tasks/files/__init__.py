"""Data that lie in files, by name and settings: ``train.tsv,target=price`` or ``images/,size=64``.

For a pre-trained model that takes texts, a table is one of texts: its tokenizer makes inputs of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from ...core.errors import RecipeError, did_you_mean
from ...core.registry import read_value, settings_of, split
from ..base import Task
from ..data import Data
from .images import image_folder
from .preparation import NOTHING, Preparation
from .tables import SUFFIXES, table
from .texts import texts


def names_files(reference: str, folder: str | Path | None = None) -> bool:
    """Whether a recipe's ``data`` names a file or a folder, and no ``module:function``.

    Args:
        reference: as a recipe holds it.
        folder: where the recipe lies.
    """
    path = _path(reference, folder)
    return path.suffix in SUFFIXES or path.is_dir() or (":" not in reference and "/" in reference)


def read_files(reference: str, task: Task, folder: str | Path | None = None, prepared: Preparation = NOTHING) -> Data:
    """The data of a table (``.csv``, ``.tsv``, ``.jsonl``, ``.parquet``) or of a folder of images with one folder per
    class.

    Args:
        reference: a path, and settings of :func:`~netwright.tasks.files.tables.table`,
            :func:`~netwright.tasks.files.texts.texts` or :func:`~netwright.tasks.files.images.image_folder` as
            ``name=value``.
        task: what the data are for.
        folder: that a relative path starts from, where the recipe lies.
        prepared: what a pre-trained model wants them to be.

    Raises :class:`RecipeError` for what cannot be read.
    """
    path, (_, *parts) = _path(reference, folder), split(reference)
    if not path.exists():
        raise RecipeError(f"data: there is no file or folder {path}")
    read, ours = _reader(path, prepared)
    if path.is_dir() != (read is image_folder):
        raise RecipeError(f"data: {path} is neither a folder of images nor a table ({', '.join(SUFFIXES)})")
    known = {name: kind for name, (kind, _) in settings_of(read).items() if name not in ("path", "task", *INNER)}
    given = {}
    for part in parts:
        name, equals, value = (each.strip() for each in part.partition("="))
        if not equals or name not in known:
            raise RecipeError(f"data: {path.name} has no setting {name!r}; {did_you_mean(name, known)}")
        try:
            given[name] = read_value(value, known[name])
        except ValueError as error:
            raise RecipeError(f"data: {name} must be {error}, not {value!r}") from None
    made = read(path, task, **{**ours(), **given})
    return replace(made, name=reference, fingerprint=_fingerprint(path, given))


INNER = ("tokenizer", "classes")
"""What readers take of the model, and no setting gives."""


def _reader(path: Path, prepared: Preparation) -> tuple[Callable[..., Data], Callable[[], Mapping[str, Any]]]:
    """What reads a path, and what it takes of the model."""
    if path.suffix not in SUFFIXES:
        return image_folder, lambda: {**prepared.images, "classes": prepared.classes}
    if prepared.tokenizer is None:
        return table, dict
    make = prepared.tokenizer
    return texts, lambda: {"tokenizer": make(), "classes": prepared.classes}


def _fingerprint(path: Path, settings: Mapping[str, Any]) -> str:
    """A digest of tables' bytes, and of images' names and sizes."""
    if path.is_dir():
        told = [f"{each.relative_to(path)} {each.stat().st_size}" for each in sorted(path.rglob("*")) if each.is_file()]
        return sha256("\n".join(told).encode(errors="surrogateescape")).hexdigest()
    others = [path.parent / settings[part] for part in ("validation", "test") if settings.get(part)]
    return sha256(b"".join(each.read_bytes() for each in (path, *others))).hexdigest()


def _path(reference: str, folder: str | Path | None) -> Path:
    return Path(folder or ".") / split(reference)[0].strip()
