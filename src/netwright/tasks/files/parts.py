"""Which of one file's examples are for training, validation and test."""

from __future__ import annotations

from hashlib import sha256

from ...core.errors import RecipeError
from ..data import PARTS


def part_of(example: str, seed: int, validation_share: float, test_share: float) -> str:
    """The part of an example: by a digest of what it says, so that an example that occurs twice is in one part, and
    stays there when others are added.

    Args:
        example: what tells it from others: a table's row, an image's name.
        seed: another one draws other parts.
        validation_share: of all examples, about.
        test_share: likewise.
    """
    drawn = int.from_bytes(sha256(f"{seed} {example}".encode()).digest()[:8], "big") / 2**64
    return "test" if drawn < test_share else "validation" if drawn < test_share + validation_share else "train"


def check_shares(validation_share: float, test_share: float) -> None:
    """Raise :class:`RecipeError` where nothing is left for training."""
    if min(validation_share, test_share) <= 0 or validation_share + test_share >= 1:
        raise RecipeError(
            f"data: validation_share and test_share must be more than 0 and less than 1 together, not "
            f"{validation_share:g} and {test_share:g}"
        )


def check_parts(sizes: dict[str, int], what: str) -> None:
    """Raise :class:`RecipeError` where a part is empty."""
    for name in PARTS:
        if not sizes.get(name):
            raise RecipeError(f"data: no {name} examples are in {what}: it needs more examples, or another share")
