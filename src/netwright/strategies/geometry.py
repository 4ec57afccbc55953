"""AGE-MOEA's survival: the curvature of the front decides which members are crowded (Panichella 2019).

pymoo's own needs numba to be imported, gives members of the last front no score unless it is the first, and divides
a distance by the proximity of the wrong one of the two.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def survive_by_geometry(everyone: Any, survivors: int) -> Any:
    """Who survives of a pymoo ``Population``, with ``rank`` and ``crowding`` set on those that are feasible.

    Fronts survive in the order of rank, the last one by survival score; then the infeasible by their place.
    """
    from pymoo.core.population import Population
    from pymoo.core.survival import split_by_feasibility
    from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

    feasible, infeasible = split_by_feasibility(everyone)
    able = everyone[feasible]
    kept = Population()
    if len(able):
        losses = able.get("F")
        fronts = NonDominatedSorting().do(losses, n_stop_if_ranked=min(survivors, len(able)))
        ideal = losses[fronts[0]].min(axis=0)
        reach, power = geometry(losses[fronts[0]] - ideal)
        for rank, front in enumerate(fronts):
            shifted = (losses[front] - ideal) / reach
            score = scores(shifted, power) if rank == 0 else 1 / np.maximum(_norm(shifted, power), 1e-12)
            able[front].set(rank=np.full(len(front), rank), crowding=score)
            best = np.argsort(-score, kind="stable")[: survivors - len(kept)]
            kept = Population.merge(kept, able[front[best]])
    return Population.merge(kept, everyone[infeasible[: survivors - len(kept)]])


def geometry(front: np.ndarray) -> tuple[np.ndarray, float]:
    """What to divide the front's losses by, shape (objectives,), and the power p of the norm in which it is a ball.

    Args:
        front: losses less the ideal point, shape (members, objectives).
    """
    members, objectives = front.shape
    reach = front.max(axis=0)
    power = 1.0
    if members >= objectives:
        corners = _corners(front)
        try:
            plane = np.linalg.solve(front[corners], np.ones(objectives))
        except np.linalg.LinAlgError:
            plane = np.zeros(objectives)
        if np.all(np.isfinite(plane)) and np.all(plane > 0):
            reach = 1 / plane
        inner = np.delete(front / np.where(reach > 0, reach, 1.0), corners, axis=0)
        if len(inner):
            middle = float(inner[np.argmin(_from_line(inner, np.ones(objectives)))].mean())
            power = float(np.log(objectives) / -np.log(middle)) if 0 < middle < 1 else 1.0
    return np.where(reach > 0, reach, 1.0), min(power, 20.0) if power > 0.1 else 1.0


def scores(front: np.ndarray, power: float) -> np.ndarray:
    """Survival scores of the first front, shape (members,), more is better; the corners' are infinite.

    One after another the member joins that is farthest from the two nearest that joined before, relative to its
    distance from the ideal point.

    Args:
        front: scaled losses, the ideal point at 0.
        power: the power of the norm.
    """
    members, objectives = front.shape
    if members < objectives:
        return np.zeros(members)
    score = np.zeros(members)
    joined = _corners(front).tolist()
    score[joined] = np.inf
    norms = _norm(front, power)
    apart = np.array([_norm(front - member, power) for member in front])
    apart = np.maximum(apart, 1e-8) / np.where(norms < 1e-8, 1.0, norms)[:, None]
    left = [i for i in range(members) if i not in joined]
    while left:
        nearest = np.sort(apart[np.ix_(left, joined)], axis=1)[:, :2].sum(axis=1)
        at = int(np.argmax(nearest))
        score[left[at]] = nearest[at]
        joined.append(left.pop(at))
    return score


def _corners(front: np.ndarray) -> np.ndarray:
    """For every axis the member that is nearest to it, all different, shape (objectives,)."""
    corners: list[int] = []
    for axis in 1e-6 + np.eye(front.shape[1]):
        distance = _from_line(front, axis)
        distance[corners] = np.inf
        corners.append(int(np.argmin(distance)))
    return np.array(corners)


def _from_line(points: np.ndarray, line: np.ndarray) -> np.ndarray:
    """Squared distances from a line through the origin, shape (points,)."""
    along = points @ line / (line @ line)
    return np.sum((points - along[:, None] * line) ** 2, axis=1)


def _norm(points: np.ndarray, power: float) -> np.ndarray:
    return np.sum(np.abs(points) ** power, axis=1) ** (1 / power)
