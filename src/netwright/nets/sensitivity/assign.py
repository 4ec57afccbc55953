"""The bits of layers under a budget of bytes."""

from __future__ import annotations

from math import ceil, gcd

import numpy as np

from ...core.candidate import Candidate
from ...core.errors import NetError
from ..supernet import SuperNet
from .base import Scores, bits_axes

MOST_UNITS = 50_000
"""Parts that a budget is counted in: where bytes are more, sizes are rounded up to these, so that it is kept."""


def assign_bits(net: SuperNet, scores: Scores, budget: float) -> Candidate:
    """The whole network with the bits that lose least within a budget, by the sum of the scores: one point of the
    Pareto front of ZeroQ (Cai et al. 2020, arXiv 2001.00281), found by dynamic programming.

    Args:
        net: a super-network with :class:`netwright.Bits` axes.
        scores: of its axes, by any :class:`netwright.sensitivity.Sensitivity`.
        budget: bytes of all parameters, as ``net.count(candidate).weight_bytes`` has them.

    Raises :class:`NetError` where the budget is too small for the fewest bits, or an axis has no scores.
    """
    axes = bits_axes(net)
    if missing := [axis.name for axis in axes if set(scores.of.get(axis.name, ())) != set(axis.options)]:
        raise NetError(f"assign_bits: the scores have none for the axis {missing[0]!r}; find them for this network")
    single = [net.largest_with({axis.name: option}) for axis in axes for option in axis.options]
    whole, *sizes = (int(size) for size in net.counts([net.largest, *single]).weight_bytes)
    rest = iter(sizes)
    saved = [[whole - next(rest) for _ in axis.options] for axis in axes]
    least = whole - sum(max(each) for each in saved)
    if not budget >= least:  # NaN too
        raise NetError(
            f"assign_bits: with the fewest bits everywhere the network takes {least:,} bytes, more than the budget of "
            f"{budget:,.0f}; give a larger one, options of fewer bits, or a smaller network"
        )
    tables = [
        [(max(each) - one, scores.of[axis.name][option]) for one, option in zip(each, axis.options, strict=True)]
        for axis, each in zip(axes, saved, strict=True)
    ]
    chosen = best_within(tables, int(min(budget, whole) - least))
    return net.largest_with({axis.name: axis.options[i] for axis, i in zip(axes, chosen, strict=True)})


def best_within(tables: list[list[tuple[int, float]]], budget: int) -> list[int]:
    """Of each table the position of one entry, so that the sum of the scores is least while that of the sizes is at
    most the budget: exact where the sizes are multiples of a :data:`MOST_UNITS`-th of it.

    Args:
        tables: sizes, of which one in each is 0, and scores.
        budget: 0 or more.
    """
    unit = gcd(*(size for table in tables for size, _ in table)) or 1
    unit = max(unit, ceil(budget / MOST_UNITS))
    room = budget // unit
    best = np.zeros(room + 1)
    picks = []
    for table in tables:
        rows = np.full((len(table), room + 1), np.inf)
        for row, (size, score) in zip(rows, table, strict=True):
            units = ceil(size / unit)
            if units <= room:
                row[units:] = best[: room + 1 - units] + score
        picks.append(rows.argmin(0))
        best = rows.min(0)
    at, chosen = room, []
    for table, pick in zip(reversed(tables), reversed(picks), strict=True):
        chosen.append(int(pick[at]))
        at -= ceil(table[chosen[-1]][0] / unit)
    return chosen[::-1]
