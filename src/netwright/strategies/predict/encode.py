"""Candidates as numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...core.candidate import Candidate
from ...core.space import Space


def one_hot(space: Space, candidates: Sequence[Candidate]) -> np.ndarray:
    """Float64 of shape (candidates, sum of options): 1 at the option of each active choice.

    A choice that is not active gives zeros: it carries no signal.
    """
    widths = [len(c.options) for c in space]
    starts = np.concatenate([[0], np.cumsum(widths)]).astype(int)
    encoded = np.zeros((len(candidates), starts[-1]))
    for row, candidate in zip(encoded, candidates, strict=True):
        positions = space.indices(candidate)
        active = positions >= 0
        row[starts[:-1][active] + positions[active]] = 1.0
    return encoded
