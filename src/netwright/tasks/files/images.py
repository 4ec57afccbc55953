"""Folders of images, one folder per class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ...core.errors import MissingExtra, RecipeError, did_you_mean, format_error
from ...core.files import open_regular
from ..base import Task
from ..data import PARTS, Data, Split
from .labels import order_of
from .parts import check_parts, check_shares, part_of

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
NAMES = {"train": ("train",), "validation": ("validation", "val", "valid"), "test": ("test",)}
"""What the folders of parts are called."""
MEMORY = 2 << 30
"""Bytes of images that are kept in memory; more are read batch by batch."""
MOST_PIXELS = 1 << 27
"""Of one image; Pillow itself refuses those that have some more, which may unpack to gigabytes."""
WIDE = ("I;16", "I;16L", "I;16B", "I;16N")
"""Modes of grey values of 16 bits, of which Pillow makes 8 by cutting all above 255 off."""
NO_RANGE = ("I", "F")
"""Modes of values of 32 bits: whatever their range is, they do not say it."""
MUCH = 1.5
"""How many times larger than they are images may be made unsaid: it costs time, and adds nothing to them."""
SAMPLED = 512
"""Training images that the mean and the deviation are found from."""

Found = list[tuple[Path, int]]


def image_folder(
    path: Path,
    task: Task,
    classes: tuple[str, ...] = (),
    size: int = 0,
    channels: int = 0,
    mean: tuple[float, ...] = (),
    std: tuple[float, ...] = (),
    batch_size: int = 64,
    validation_share: float = 0.2,
    test_share: float = 0.2,
    seed: int = 0,
) -> Data:
    """Images with a class each: ``images/CLASS/NAME.png``, or ``images/train/CLASS/NAME.png`` with folders
    ``validation`` (or ``val``) and ``test`` beside it. Classes are counted in the order of their names.

    Args:
        path: the folder.
        task: what the data are for.
        classes: those of a trained head in its order; then folders are named like them.
        size: height and width that images are scaled to, the shorter side first, of which the middle is taken; by
            default all must have the same size.
        channels: 1 for grey, 3 for colours; by default as the first training image has it.
        mean: of each channel, subtracted from values of 0 to 1; by default that of some training images.
        std: likewise, what is divided by.
        batch_size: where the images are too many to be kept in memory.
        validation_share: of the images, about, drawn by their names where there is no folder of them.
        test_share: likewise.
        seed: of that draw.
    """
    parts, classes = _parts(path, validation_share, test_share, seed, classes)
    check_parts({part: len(found) for part, found in parts.items()}, str(path))
    first = _opened(parts["train"][0][0])
    channels = channels or (1 if first.mode in ("1", "L", *WIDE) else 3)
    if channels not in (1, 3):
        raise RecipeError(f"data: channels must be 1 for grey or 3 for colours, not {channels}")
    plain = _Images(parts["train"], size, channels)
    told = _told_scaling(first.size, size) + ("" if mean and std else "; normalised by their own mean and deviation")
    if not mean or not std:
        stride = max(1, len(plain) // SAMPLED)
        some = torch.stack([plain[i][0] for i in range(0, len(plain), stride)])
        mean = mean or tuple(some.mean((0, 2, 3)).tolist())
        std = std or tuple(value or 1.0 for value in some.std((0, 2, 3)).tolist())
    if len(mean) != channels or len(std) != channels:
        raise RecipeError(f"data: mean and std need {channels} values each, not {len(mean)} and {len(std)}")
    sets = {part: _Images(found, size, channels, mean, std) for part, found in parts.items()}
    whole = sum(map(len, sets.values())) * plain[0][0].nbytes
    if whole <= MEMORY:
        made: dict[str, Any] = {part: _in_memory(images) for part, images in sets.items()}
    else:
        made = {part: DataLoader(images, batch_size, shuffle=part == "train") for part, images in sets.items()}
    sizes = ", ".join(f"{len(images)} {part}" for part, images in sets.items())
    shape = " by ".join(map(str, plain[0][0].shape))
    return Data(
        **made, classes=classes, notes=(f"data: {path.name}, {sizes} images of {shape}{told}; {len(classes)} classes",)
    )


def _told_scaling(given: tuple[int, int], size: int) -> str:
    """What is to be said of images that are made much larger than they are; nothing of others."""
    if min(given) * MUCH > size:
        return ""
    return f" (the first has {given[1]} by {given[0]}; size=... of the data gives others, and less takes less time)"


class _Images(Dataset[tuple[Tensor, int]]):
    """Images as float32 (channels, height, width) and their classes."""

    def __init__(
        self, found: Found, size: int, channels: int, mean: Sequence[float] = (0.0,), std: Sequence[float] = (1.0,)
    ) -> None:
        self._found, self._size, self._channels = found, size, channels
        self._mean, self._std = (torch.tensor(values)[:, None, None] for values in (mean, std))
        self._shape: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self._found)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        path, label = self._found[i]
        image = _opened(path)
        wide = image.mode in WIDE
        image = image.convert("F" if wide else "L" if self._channels == 1 else "RGB")
        if self._size:
            scale = self._size / min(image.size)
            image = image.resize([max(self._size, round(side * scale)) for side in image.size])
            left, top = ((side - self._size) // 2 for side in image.size)
            image = image.crop((left, top, left + self._size, top + self._size))
        values = torch.from_numpy(np.array(image, dtype=np.float32) / (65535 if wide else 255))
        values = values.view(*image.size[::-1], -1).permute(2, 0, 1).expand(self._channels, -1, -1)
        self._shape = self._shape or values.shape
        if values.shape != self._shape:
            raise RecipeError(
                f"data: {path} has {image.width} by {image.height} pixels, others {self._shape[2]} by "
                f"{self._shape[1]}; give size=..., which all are scaled to"
            )
        return ((values - self._mean) / self._std).contiguous(), label


def _in_memory(images: _Images) -> Split:
    every = [images[i] for i in range(len(images))]
    return Split(torch.stack([image for image, _ in every]), torch.tensor([label for _, label in every]))


def _opened(path: Path) -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtra("pillow", "images", f"reading {path.name}") from None
    try:
        with open_regular(path) as file, Image.open(file) as image:
            if image.width * image.height > MOST_PIXELS:
                raise ValueError(f"it has {image.width} by {image.height} pixels, {MOST_PIXELS:,} at most are read")
            if image.mode in NO_RANGE:
                raise ValueError("its values have 32 bits, whose range is not known; save it with 8 or 16 bits")
            image.load()
            return image
    except Exception as error:  # the readers of Pillow's formats raise many types
        raise RecipeError(f"data: the image {path} cannot be read: {format_error(error)}") from error


def _parts(
    path: Path, validation_share: float, test_share: float, seed: int, known: tuple[str, ...]
) -> tuple[dict[str, Found], tuple[str, ...]]:
    """The images of each part, and the classes in the order of their indices."""
    there = {part: next((path / n for n in names if (path / n).is_dir()), None) for part, names in NAMES.items()}
    train = there["train"] or path
    classes = sorted(each.name for each in train.iterdir() if each.is_dir() and not each.name.startswith("."))
    if len(classes) < 2:
        raise RecipeError(f"data: {train} must hold a folder of images for each of two or more classes")
    order = order_of(set(classes), known, f"the folder {train.name}")
    index = {name: next(i for i, own in enumerate(order) if own.lower() == name.lower()) for name in classes}
    parts = {part: _found(folder, index) for part, folder in there.items() if folder}
    if there["train"] is None:
        parts = {"train": _found(path, index)}
    missing = [part for part in PARTS if part not in parts]
    if missing:
        check_shares(validation_share, test_share)
        every, parts["train"] = parts["train"], []
        parts |= {part: [] for part in missing}
        shares = validation_share * ("validation" in missing), test_share * ("test" in missing)
        names = {label: name for name, label in index.items()}
        for image, label in every:
            parts[part_of(f"{names[label]}/{image.name}", seed, *shares)].append((image, label))
    return parts, order


def _found(folder: Path, classes: Mapping[str, int]) -> Found:
    """The images below a folder, in the order of their names, with their classes."""
    for each in folder.iterdir():
        if each.is_dir() and not each.name.startswith(".") and each.name not in classes:
            raise RecipeError(f"data: {folder} has a class {each.name!r} without training images; "
                              f"{did_you_mean(each.name, classes)}")  # fmt: skip
    return [
        (image, label)
        for name, label in classes.items()
        for image in sorted((folder / name).rglob("*"))
        if image.suffix.lower() in SUFFIXES
    ]
