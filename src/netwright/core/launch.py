"""Who started this process, and beside which others: what ``torchrun`` and its like say in the environment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from .errors import RecipeError

VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What PyTorch's own launcher sets, and others do after it; all of them, or nothing was launched."""


def launched() -> tuple[int, int]:
    """The number of this process, from 0, and how many were launched: ``(0, 1)`` where none were.

    Raises :class:`RecipeError` for variables that are no such numbers.
    """
    found = [os.environ.get(name, "") for name in VARIABLES]
    if not all(found):
        return 0, 1
    rank, size = found[:2]
    if not (rank.isdecimal() and size.isdecimal() and int(rank) < int(size)):
        raise RecipeError(
            f"RANK={rank} and WORLD_SIZE={size} in the environment are not the number of a process and how many there "
            "are: start all of them by torchrun, or unset both"
        )
    return int(rank), int(size)


@contextmanager
def unlaunched() -> Iterator[None]:
    """Neither this process nor those that it starts count as launched beside others while the block lasts."""
    kept = {name: os.environ.pop(name) for name in VARIABLES if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)
