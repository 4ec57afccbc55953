"""Aging evolution: the oldest candidates leave the population, however good."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.candidate import Candidate
from ..core.front import nondominated
from .base import Problem
from .evolution import Draw, Evolution, Measured, mutate


@dataclass(frozen=True)
class AgingEvolution(Evolution):
    """Regularised (aging) evolution (Real et al. 2019): the last measured are the population; mutants of the best of
    a sample join it. Any number of objectives.

    With several objectives the best of a sample are those that no other of it dominates, and one of them is drawn.

    Args:
        sample: how many of the population compete to be the parent.
    """

    population: int = 50
    sample: int = 12

    positive = ("batch", "population", "sample")

    def breeder(self, problem: Problem, found: Measured, rng: np.random.Generator) -> Draw:
        young = np.arange(max(0, len(found) - self.population), len(found))

        def draw() -> Candidate:
            rivals = rng.choice(young, min(self.sample, len(young)), replace=False)
            rivals = rivals[found.violation[rivals] == found.violation[rivals].min()]
            best = rivals[nondominated(found.losses[rivals])]
            return mutate(problem.space, found.candidates[int(rng.choice(best))], rng)

        return draw
