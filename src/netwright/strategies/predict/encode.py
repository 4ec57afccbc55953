"""Candidates as numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...core.candidate import Candidate
from ...core.space import Choice, Space


def encode(space: Space, candidates: Sequence[Candidate]) -> np.ndarray:
    """Features of the choices, float64 of shape (candidates, features).

    A choice among numbers gives the position of its option, from 0 to 1; any other choice one column per option. A
    choice with a condition gives a column that says whether it is active; where it is not, its other columns are 0.
    """
    positions = np.array([space.indices(c) for c in candidates]).reshape(len(candidates), len(space))
    columns: list[np.ndarray] = []
    for choice, at in zip(space, positions.T, strict=True):
        active = at >= 0
        if is_ordered(choice):
            columns.append(np.where(active, at, 0) / max(1, len(choice.options) - 1))
        else:
            columns += [at == i for i in range(len(choice.options))]
        if space.conditions(choice.name) != ({},):
            columns.append(active)
    return np.array(columns, dtype=np.float64).T.reshape(len(candidates), len(columns))


def is_ordered(choice: Choice) -> bool:
    """Whether the options are numbers."""
    return all(isinstance(o, int | float) and not isinstance(o, bool) for o in choice.options)
