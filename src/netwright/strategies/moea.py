"""Evolution by pymoo's survival and selection: GA, NSGA-III, U-NSGA-III, AGE-MOEA, MOEA/D, C-TAEA."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

from .base import Problem
from .evolution import Draw, Evolution, Measured
from .geometry import survive_by_geometry
from .replay import Survive, breed, directions, pymoo_survival, replay


@dataclass(frozen=True)
class _Tournament(Evolution):
    """Survival by generations, mating by tournaments."""

    def breeder(self, problem: Problem, found: Measured, rng: np.random.Generator) -> Draw:
        from pymoo.operators.selection.tournament import TournamentSelection

        parents = replay(found, self.population, self._survive(problem))
        about = {"algorithm": SimpleNamespace(tournament_type="comp_by_rank_and_crowding", random_state=rng)}
        return breed(problem.space, found, parents, TournamentSelection(func_comp=self._compare()), rng, lambda: about)

    @abstractmethod
    def _survive(self, problem: Problem) -> Survive: ...

    @abstractmethod
    def _compare(self) -> Any:
        """A comparison for pymoo's tournaments of two."""


@dataclass(frozen=True)
class Ga(_Tournament):
    """A genetic algorithm: the best survive, the better of two mates. One objective."""

    single_objective: ClassVar[bool | None] = True
    alternatives: ClassVar[str] = "Nsga2 or Guided"

    def _survive(self, problem: Problem) -> Survive:
        from pymoo.algorithms.soo.nonconvex.ga import FitnessSurvival

        return pymoo_survival(FitnessSurvival(), self.population, 1, problem.seed)

    def _compare(self) -> Any:
        from pymoo.algorithms.soo.nonconvex.ga import comp_by_cv_and_fitness

        return comp_by_cv_and_fitness


@dataclass(frozen=True)
class UNsga3(_Tournament):
    """U-NSGA-III (Seada and Deb 2016): NSGA-III with tournaments within a niche. Any number of objectives."""

    def _survive(self, problem: Problem) -> Survive:
        from pymoo.algorithms.moo.nsga3 import ReferenceDirectionSurvival

        objectives = len(problem.objectives)
        reference = directions(objectives, self.population)
        return pymoo_survival(ReferenceDirectionSurvival(reference), self.population, objectives, problem.seed)

    def _compare(self) -> Any:
        from pymoo.algorithms.moo.unsga3 import comp_by_rank_and_ref_line_dist

        return comp_by_rank_and_ref_line_dist


@dataclass(frozen=True)
class Nsga3(UNsga3):
    """NSGA-III (Deb and Jain 2014): rank, then the emptiest of evenly spread directions; mates by lot. Two or more
    objectives."""

    single_objective: ClassVar[bool | None] = False
    alternatives: ClassVar[str] = "UNsga3 or Ga"

    def _compare(self) -> Any:
        from pymoo.algorithms.moo.nsga3 import comp_by_cv_then_random

        return comp_by_cv_then_random


@dataclass(frozen=True)
class AgeMoea(_Tournament):
    """AGE-MOEA (Panichella 2019): rank, then diversity and proximity under the estimated geometry of the front. Two
    or more objectives."""

    single_objective: ClassVar[bool | None] = False
    alternatives: ClassVar[str] = "Ga"

    def _survive(self, problem: Problem) -> Survive:
        return lambda everyone, newcomers: survive_by_geometry(everyone, self.population)

    def _compare(self) -> Any:
        from pymoo.algorithms.moo.nsga2 import binary_tournament

        return binary_tournament


@dataclass(frozen=True)
class MoeaD(Evolution):
    """MOEA/D (Zhang and Li 2007): one sub-problem for every direction, which mates with its neighbours. Two or more
    objectives.

    Sub-problems are those of pymoo: Tchebycheff for two objectives, boundary intersection (PBI) for more. Since
    everything measured is remembered, each holds the best of all for it, not only of its neighbours' children.

    Args:
        population: the sub-problems; fewer where the directions of so many objectives spread evenly in fewer only.
        neighbours: the neighbours of a sub-problem, itself among them.
        within: probability that both parents are neighbours.
    """

    neighbours: int = 6
    within: float = 0.9

    positive = ("batch", "population", "neighbours")

    single_objective: ClassVar[bool | None] = False
    alternatives: ClassVar[str] = "Ga"

    def breeder(self, problem: Problem, found: Measured, rng: np.random.Generator) -> Draw:
        from pymoo.algorithms.moo.moead import NeighborhoodSelection, default_decomp
        from pymoo.core.population import Population

        reference = directions(len(problem.objectives), self.population)
        losses = found.scaled
        decomposition = default_decomp(SimpleNamespace(n_obj=losses.shape[1]))
        worth = decomposition.do(losses, reference, _type="many_to_many", ideal_point=losses.min(axis=0))
        holders = [int(np.lexsort([column, found.infeasibility_rank])[0]) for column in worth.T]
        near = np.argsort(np.linalg.norm(reference[:, None] - reference, axis=2), axis=1, kind="stable")
        near = near[:, : max(2, self.neighbours)]
        return breed(
            problem.space,
            found,
            Population.new(at=np.array(holders)),
            NeighborhoodSelection(prob=self.within),
            rng,
            lambda: {"neighbors": near[[int(rng.integers(len(near)))]]},
        )


@dataclass(frozen=True)
class CTaea(Evolution):
    """C-TAEA (Li et al. 2019): an archive that converges within the limits, and one that keeps what it lacks, with no
    regard to them. Two or more objectives.

    Args:
        population: the population of either archive; at most that many where directions spread evenly in fewer only.
    """

    single_objective: ClassVar[bool | None] = False
    alternatives: ClassVar[str] = "Ga"

    def breeder(self, problem: Problem, found: Measured, rng: np.random.Generator) -> Draw:
        from pymoo.algorithms.moo.ctaea import CADASurvival, RestrictedMating, comp_by_cv_dom_then_random
        from pymoo.core.population import Population

        reference = directions(len(problem.objectives), self.population)
        size = len(reference)
        if len(found) < size:
            return lambda: problem.space.sample(rng)
        survival = CADASurvival(reference)
        replay_rng = np.random.default_rng(problem.seed)
        diverse = Population()

        def survive(everyone: Any, newcomers: int) -> Any:
            nonlocal diverse
            # pymoo takes the last ``size`` for the newcomers; of a generation that is not whole, some are survivors.
            converged, diverse = survival.do(None, everyone, diverse, n_survive=size, random_state=replay_rng)
            return converged

        converged = replay(found, size, survive)
        both = Population.merge(converged, diverse)
        return breed(problem.space, found, both, RestrictedMating(func_comp=comp_by_cv_dom_then_random), rng)
