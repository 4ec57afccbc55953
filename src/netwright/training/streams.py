"""Streams of randomness: what a loader draws does not depend on what a network draws, nor either on anybody else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..nets.isolation import draw_on, draws, seeded


class Stream:
    """The generators of PyTorch, NumPy and Python for one purpose, seeded once, going on at each use.

    Args:
        seed: of all of them.
    """

    def __init__(self, seed: int) -> None:
        with seeded(seed):
            self.state = draws()

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """What is drawn inside comes from this stream; everybody else's generators stay where they are."""
        outer = draws()
        draw_on(self.state)
        try:
            yield
        finally:
            self.state = draws()
            draw_on(outer)

    def saved(self) -> Any:
        """Where the stream is, as values for a checkpoint."""
        torch_state, cuda, (kind, keys, at, has, cached), python = self.state
        return {"torch": torch_state, "cuda": cuda, "numpy": [kind, keys.tolist(), at, has, cached], "python": python}

    def restore(self, saved: Any) -> None:
        """Go on from where :meth:`saved` was."""
        cuda = saved["cuda"] if self.state[1] is not None else None
        self.state = saved["torch"], cuda, _numpy(saved["numpy"]), saved["python"]


def _numpy(saved: Any) -> tuple[Any, ...]:
    kind, keys, at, has, cached = saved
    return kind, np.array(keys, dtype=np.uint32), at, has, cached
