"""NSGA-II's ranking of many candidates: by front, then by crowding (Deb et al. 2002)."""

from __future__ import annotations

import numpy as np


def ranked(losses: np.ndarray, violation: np.ndarray, n: int) -> np.ndarray:
    """Which ``n`` are best as NSGA-II sees it, the best first: by front, then by crowding; the infeasible last.

    Args:
        losses: (candidates, objectives), less is better.
        violation: how far each is beyond the limits, shape (candidates,); 0: feasible.
        n: how many are wanted.
    """
    import moocore

    feasible = np.flatnonzero(violation <= 0)
    fronts = moocore.pareto_rank(losses[feasible]) if len(feasible) else np.empty(0, dtype=int)
    order: list[int] = []
    for front in range(int(fronts.max(initial=-1)) + 1):
        if len(order) >= n:
            break
        members = feasible[fronts == front]
        order += members[np.argsort(-crowding(losses[members]), kind="stable")].tolist()
    worst = np.argsort(violation, kind="stable")
    return np.array([*order, *worst[violation[worst] > 0]][:n], dtype=np.int64)


def crowding(losses: np.ndarray) -> np.ndarray:
    """How far apart the neighbours of each member of a front are (Deb et al. 2002), shape (members,); ends: infinite.

    Args:
        losses: the losses of one front, shape (members, objectives).
    """
    distance = np.zeros(len(losses))
    for column in losses.T:
        order = np.argsort(column, kind="stable")
        across = column[order]
        reach = across[-1] - across[0] or 1.0
        distance[order[1:-1]] += (across[2:] - across[:-2]) / reach
        distance[order[[0, -1]]] = np.inf
    return distance
