"""What pays on a target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..measure.worth import KindTimes, OptionWorth, Saving
from ..recipe.schema import Recipe


@dataclass(frozen=True)
class DeviceSpace:
    """What pays on a target.

    Args:
        recipe: of a search in that space.
        path: its file.
        page: of what was measured and why.
        target: where.
        sizes: numbers of networks: as the recipe was, and now.
        kinds: layers in 8 bits beside float32, by kind; nothing where 8 bits were not measured.
        bits: what 8 bits save, by the choice that they are an option of.
        options: of each other choice, the largest first.
        notes: what should be known of it.
    """

    recipe: Recipe
    path: Path
    page: Path
    target: str
    sizes: tuple[int, int]
    kinds: Sequence[KindTimes]
    bits: Mapping[str, Saving]
    options: Mapping[str, Sequence[OptionWorth]]
    notes: Sequence[str]
