"""pymoo's survival and selection on a history: replayed, so that they are functions of the records."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.space import Space
from .evolution import Draw, Measured, cross, mutate

Survive = Callable[[Any, int], Any]
"""Who of a pymoo population survives, given how many newcomers its end holds."""


def replay(found: Measured, generation: int, survive: Survive) -> Any:
    """The survivors after all that was found, a pymoo ``Population``; the last generation may be a part of one.

    Individuals hold the scaled losses as ``F``, their place among the infeasible as ``CV`` (0: feasible), and which
    candidate they are as ``at``.

    Args:
        found: the candidates found, in the order of measuring.
        generation: how many candidates each generation brings.
        survive: called once a generation, in order; may keep what it needs between the calls.
    """
    from pymoo.core.population import Population

    everyone = Population.new(F=found.scaled, CV=found.infeasibility_rank[:, None], at=np.arange(len(found)))
    alive = Population()
    with warnings.catch_warnings():  # pymoo's normalisation switches all warnings off, for good
        for begin in range(0, len(found), generation):
            newcomers = everyone[begin : begin + generation]
            alive = survive(Population.merge(alive, newcomers), len(newcomers))
    return alive


def pymoo_survival(survival: Any, survivors: int, objectives: int, seed: int) -> Survive:
    """A pymoo ``Survival``, which may keep something between generations, with a generator of its own."""
    from pymoo.core.problem import Problem

    limited = Problem(n_var=1, n_obj=objectives, n_ieq_constr=1)
    rng = np.random.default_rng(seed)
    return lambda everyone, newcomers: survival.do(limited, everyone, n_survive=survivors, random_state=rng)


def breed(
    space: Space,
    found: Measured,
    parents: Any,
    selection: Any,
    rng: np.random.Generator,
    about: Callable[[], dict[str, Any]] = dict,
) -> Draw:
    """Draws the mutated cross of two parents.

    Args:
        space: the space of the candidates.
        found: the candidates that the parents' ``at`` stands for.
        parents: a pymoo ``Population``.
        selection: a pymoo ``Selection``.
        rng: the random generator of selection and variation.
        about: further arguments of the selection, made at every draw.
    """

    def draw() -> Any:
        picked = selection.do(None, parents, 1, 2, random_state=rng, **about())[0]
        one, other = (found.candidates[int(individual.get("at"))] for individual in picked)
        return mutate(space, cross(space, one, other, rng), rng)

    return draw


def directions(objectives: int, most: int) -> np.ndarray:
    """Evenly spread directions (Das and Dennis 1998), shape (directions, objectives): as many as ``most`` allows.

    There are never fewer than objectives.
    """
    from pymoo.util.ref_dirs import get_reference_directions
    from pymoo.util.reference_direction import get_partition_closest_to_points

    parts = max(1, get_partition_closest_to_points(most, objectives))
    return np.asarray(get_reference_directions("das-dennis", objectives, n_partitions=parts))
