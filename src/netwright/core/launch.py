"""Who started this process, and beside which others: what ``torchrun`` and its like say in the environment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from .errors import RecipeError

VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What PyTorch's own launcher sets, and others do after it; all of them, or nothing was launched."""


class Launched(NamedTuple):
    """Which of the processes that were launched together this one is.

    Args:
        rank: its number, from 0.
        size: how many there are.
    """

    rank: int
    size: int


def launched() -> Launched:
    """Which of how many processes this is: the first of one where none were launched.

    Raises :class:`RecipeError` for variables that are no such numbers.
    """
    found = [os.environ.get(name, "") for name in VARIABLES]
    if not all(found):
        return Launched(0, 1)
    rank, size = found[:2]
    if not (rank.isdecimal() and size.isdecimal() and int(rank) < int(size)):
        raise RecipeError(
            f"RANK={rank} and WORLD_SIZE={size} in the environment are not the number of a process and how many there "
            "are: start all of them by torchrun, or unset both"
        )
    return Launched(int(rank), int(size))


@contextmanager
def unlaunched() -> Iterator[None]:
    """Neither this process nor those that it starts count as launched beside others while the block lasts."""
    kept = {name: os.environ.pop(name) for name in VARIABLES if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)
