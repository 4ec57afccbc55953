"""CMA-ES on choices: a normal distribution over option positions."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..core.candidate import Candidate
from ..core.space import Space
from .base import Problem
from .evolution import Draw, Evolution, Measured, mutate

STEP = 0.3
"""The first standard deviation, where 0 to 1 is from a choice's first option to its last."""
MARGIN = 0.25
"""The least standard deviation, in options: so that no option's neighbour gets out of reach (Hamano et al. 2022)."""


@dataclass(frozen=True)
class CmaEs(Evolution):
    """CMA-ES (Hansen and Ostermeier 2001), by the package ``cma`` that comes with pymoo. One objective.

    Every choice is a number from 0 to 1, cut into as many equal parts as it has options. The distribution is adapted
    again from everything measured so far, a generation of ``population`` at a time; each candidate stands where the
    middle of its options is, and where it lacks a choice, at the distribution's mean, which it thus says nothing
    about. Only ranks count; candidates beyond the limits rank last. Samples that are known are mutated.

    Args:
        population: a generation, and how many candidates start; 4 or more.
    """

    batch: int = 16
    population: int = 16

    single_objective: ClassVar[bool | None] = True
    alternatives: ClassVar[str] = "Nsga2 or Guided"

    def breeder(self, problem: Problem, found: Measured, rng: np.random.Generator) -> Draw:
        space = problem.space
        distribution = _Distribution(space, max(4, self.population), problem.seed)
        order = np.lexsort([found.losses[:, 0], found.infeasibility_rank])
        places = np.empty(len(found))
        places[order] = np.arange(len(found))
        for begin in range(0, len(found) - distribution.generation + 1, distribution.generation):
            whole = slice(begin, begin + distribution.generation)
            distribution.tell(found.candidates[whole], places[whole])
        distribution.rng = rng
        met = {*found.candidates, *problem.pending}

        def draw() -> Candidate:
            candidate = distribution.sample()
            return mutate(space, candidate, rng) if candidate in met else candidate

        return draw


class _Distribution:
    """What ``cma`` has learned.

    Args:
        space: the space whose choices of two or more options are the dimensions.
        generation: how many candidates it learns from at once.
        seed: the seed of ``rng`` while it learns; ``rng`` may then be replaced.
    """

    def __init__(self, space: Space, generation: int, seed: int) -> None:
        import cma

        self.space, self.generation = space, generation
        self.rng = np.random.default_rng(seed)
        self._sizes = np.array([len(c.options) for c in space])
        self._free = np.flatnonzero(self._sizes > 1)
        sizes = self._sizes[self._free].tolist()
        sizes += [2] * (2 - len(sizes))  # cma wants two dimensions; what is made up means nothing
        self._learned: Any = cma.CMAEvolutionStrategy(
            [0.5] * len(sizes),
            STEP,
            {
                "popsize": generation,
                "bounds": [0, 1],
                "minstd": [MARGIN / size for size in sizes],
                "seed": np.nan,  # leaves NumPy's global random state alone
                "randn": lambda *shape: self.rng.standard_normal(shape),
                "verbose": -9,
            },
        )

    def tell(self, candidates: tuple[Candidate, ...], places: np.ndarray) -> None:
        """Learn from a generation; ``places`` are ranks, shape (candidates,), the best lowest."""
        mean = np.asarray(self._learned.result.xfavorite)
        points = []
        for candidate in candidates:
            positions = self.space.indices(candidate)[self._free]
            point = mean.copy()
            middles = (positions + 0.5) / self._sizes[self._free]
            point[: len(middles)] = np.where(positions >= 0, middles, point[: len(middles)])
            points.append(point)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that these are not the points it asked for, it says every time
            self._learned.ask()
            self._learned.tell(points, places.tolist())

    def sample(self) -> Candidate:
        point = np.asarray(self._learned.ask(1)[0])
        positions = np.zeros(len(self._sizes), dtype=np.int64)
        sizes = self._sizes[self._free]
        positions[self._free] = np.minimum((point[: len(sizes)] * sizes).astype(int), sizes - 1)
        return self.space.from_indices(positions)
