"""Candidates as numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...core.candidate import Candidate
from ...core.space import Choice, Space


def encode(space: Space, candidates: Sequence[Candidate]) -> np.ndarray:
    """Features of the choices, float64 of shape (candidates, features).

    Every option has a column, 1 where it is chosen; a choice among numbers has one more with the position of its
    option, from 0 to 1, so that a trend need not be learned option by option. Where a choice is not active all its
    columns are 0: it carries no signal.
    """
    positions = np.array([space.indices(c) for c in candidates]).reshape(len(candidates), len(space))
    columns: list[np.ndarray] = []
    for choice, at in zip(space, positions.T, strict=True):
        columns += [at == i for i in range(len(choice.options))]
        if is_ordered(choice) and len(choice.options) > 2:
            columns.append(np.maximum(at, 0) / (len(choice.options) - 1))
    return np.array(columns, dtype=np.float64).T.reshape(len(candidates), len(columns))


def is_ordered(choice: Choice) -> bool:
    """Whether the options are numbers."""
    return all(isinstance(o, int | float) and not isinstance(o, bool) for o in choice.options)
