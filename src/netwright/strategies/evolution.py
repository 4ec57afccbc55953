"""Evolution: what all its forms share, NSGA-II (pymoo's survival), and variation that knows spaces."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from ..core.candidate import Candidate, Option
from ..core.errors import NetwrightError
from ..core.front import nondominated
from ..core.record import Record
from ..core.space import Choice, Space
from .base import Problem, Strategy, draw_new, initial_candidates

Draw = Callable[[], Candidate]
"""Makes a candidate; it may be one that is known."""


@dataclass(frozen=True, eq=False)
class Measured:
    """What a history says of its candidates, in numbers.

    Args:
        candidates: the candidates, in the order of the history.
        losses: float64 of shape (candidates, objectives), less is better; the worst known where a candidate broke a
            limit before the objective was measured.
        violation: how far each is beyond the limits, shape (candidates,); 0: feasible, infinite: infeasible, and not
            known by how much.
    """

    candidates: tuple[Candidate, ...]
    losses: np.ndarray
    violation: np.ndarray

    @classmethod
    def of(cls, problem: Problem, history: Sequence[Record]) -> Measured:
        """What was measured whole, or far enough to break a limit. What failed says nothing."""
        candidates, losses, violation = [], [], []
        for record in history:
            found = problem.losses(record)
            beyond = problem.violation(record.values)
            if record.status == "failed" or (found is None and not beyond):
                continue
            candidates.append(record.candidate)
            losses.append(found if found is not None else [np.nan] * len(problem.objectives))
            violation.append(beyond if beyond or record.status == "ok" else np.inf)
        table = np.array(losses, dtype=np.float64).reshape(len(losses), len(problem.objectives))
        worst = np.max(table, axis=0, initial=-np.inf, where=~np.isnan(table))
        table = np.where(np.isnan(table), np.where(np.isfinite(worst), worst, 0.0), table)
        return cls(tuple(candidates), table, np.array(violation, dtype=np.float64))

    def __len__(self) -> int:
        return len(self.candidates)

    @property
    def infeasibility_rank(self) -> np.ndarray:
        """The rank of every infeasible candidate among its like, from 1 on; 0 where feasible. Shape (candidates,).

        No two that are infeasible are level, so that nothing is left to pymoo's own random numbers.
        """
        place = np.zeros(len(self))
        order = np.argsort(self.violation, kind="stable")
        order = order[self.violation[order] > 0]
        place[order] = np.arange(1, len(order) + 1)
        return place

    @property
    def scaled(self) -> np.ndarray:
        """The losses with the front of what is feasible spanning 0 to 1, (candidates, objectives).

        Methods that weigh objectives against one another need them alike: MACs are counted in millions, accuracy in
        points.
        """
        able = self.losses[self.violation <= 0] if (self.violation <= 0).any() else self.losses
        front = able[nondominated(able)]
        low, reach = front.min(axis=0), np.ptp(front, axis=0)
        reach = np.where(reach > 0, reach, np.ptp(able, axis=0))
        return (self.losses - low) / np.where(reach > 0, reach, 1.0)


@dataclass(frozen=True)
class Evolution(Strategy):
    """A population of what was measured, and children of it.

    It begins with the ends of the space and random candidates. Then the parents are found again from everything
    measured so far, so that the strategy has no state. Candidates that break limits rank behind all others, by how
    far they do; those that failed have no children.

    Args:
        population: how many survive, and how many candidates start.
    """

    batch: int = 10
    population: int = 20

    positive: ClassVar[tuple[str, ...]] = ("batch", "population")

    single_objective: ClassVar[bool | None] = None
    """Whether it is for one objective (True), for two or more (False), or for any number."""
    alternatives: ClassVar[str] = ""
    """The strategies for the others."""

    def ask(self, problem: Problem, history: Sequence[Record], n: int) -> list[Candidate]:
        self._check(problem)
        rng = problem.rng(history)
        first = initial_candidates(problem, history, n)
        if len(first) == n:
            return first
        known = problem.known(history, first)
        found = Measured.of(problem, history)
        few = len(history) < self.population or len(found) < 2
        draw = partial(problem.space.sample, rng) if few else self.breeder(problem, found, rng)
        return first + draw_new(problem, known, n - len(first), rng, draw)

    @abstractmethod
    def breeder(self, problem: Problem, found: Measured, rng: np.random.Generator) -> Draw:
        """What draws children of the candidates found, of which there are two or more."""

    def _check(self, problem: Problem) -> None:
        """Raise :class:`NetwrightError` for a number of objectives that the strategy does not support."""
        names = [m.name for m in problem.objectives]
        if self.single_objective is not None and self.single_objective != (len(names) == 1):
            wanted = "exactly one objective" if self.single_objective else "two or more objectives"
            raise NetwrightError(
                f"{type(self).__name__} is for {wanted}, and {len(names)} {'is' if len(names) == 1 else 'are'} given "
                f"({', '.join(names)}); use {self.alternatives}"
            )


@dataclass(frozen=True)
class Nsga2(Evolution):
    """NSGA-II (Deb et al. 2002): rank and crowding decide who survives and who mates. Any number of objectives."""

    def breeder(self, problem: Problem, found: Measured, rng: np.random.Generator) -> Draw:
        parents = Parents(found.candidates, found.losses, found.violation, self.population)
        return lambda: parents.child(problem.space, rng)


class Parents:
    """Survivors with their rank and crowding.

    Args:
        candidates: the candidates that compete.
        losses: float64 of shape (candidates, objectives), less is better.
        violation: how far each is beyond the limits, shape (candidates,); 0: feasible.
        survivors: how many remain.
    """

    def __init__(
        self, candidates: Sequence[Candidate], losses: np.ndarray, violation: np.ndarray, survivors: int
    ) -> None:
        from pymoo.core.population import Population
        from pymoo.operators.survival.rank_and_crowding import RankAndCrowding

        feasible = np.flatnonzero(violation <= 0)
        self.candidates: list[Candidate] = []
        self._order: list[tuple[float, float]] = []
        self.losses = np.empty((0, losses.shape[1]))
        if len(feasible):
            population = Population.new("F", losses[feasible], "at", feasible)
            kept = RankAndCrowding()._do(
                None, population, n_survive=min(survivors, len(feasible)), random_state=np.random.default_rng(0)
            )
            picked = kept.get("at").astype(int)
            self.candidates = [candidates[i] for i in picked]
            self._order = list(zip(kept.get("rank").tolist(), (-kept.get("crowding")).tolist(), strict=True))
            self.losses = losses[picked]
        worst = np.argsort(violation, kind="stable")
        for i in worst[violation[worst] > 0][: survivors - len(self.candidates)]:
            self.candidates.append(candidates[i])
            self._order.append((np.inf, float(violation[i])))
            self.losses = np.vstack([self.losses, losses[i]])

    @classmethod
    def of(cls, problem: Problem, history: Sequence[Record], survivors: int) -> Parents:
        """The survivors of a history."""
        found = Measured.of(problem, history)
        return cls(found.candidates, found.losses, found.violation, survivors)

    def __len__(self) -> int:
        return len(self.candidates)

    def select(self, rng: np.random.Generator) -> Candidate:
        """The winner of a tournament of two."""
        a, b = rng.integers(len(self.candidates), size=2)
        return self.candidates[a if self._order[a] <= self._order[b] else b]

    def child(self, space: Space, rng: np.random.Generator) -> Candidate:
        """A mutated cross of two selected parents."""
        return mutate(space, cross(space, self.select(rng), self.select(rng), rng), rng)


def cross(space: Space, one: Candidate, other: Candidate, rng: np.random.Generator) -> Candidate:
    """Every choice from either parent with the same probability; where only one has it, from that one."""

    def pick(choice: Choice) -> Option:
        having = [p for p in (one, other) if choice.name in p]
        if not having:
            return choice.options[int(rng.integers(len(choice.options)))]
        return having[int(rng.integers(len(having)))][choice.name]

    return space.build(pick)


def mutate(space: Space, candidate: Candidate, rng: np.random.Generator) -> Candidate:
    """Change every choice with probability 1 / (active choices), and at least one if any has two options.

    Half of the changes go to a neighbouring option, since options are ordered; the others anywhere.
    """
    names = [c.name for c in space if c.name in candidate and len(c.options) > 1]
    if not names:
        return candidate
    changed = {name for name in names if rng.random() < 1 / len(names)} or {names[int(rng.integers(len(names)))]}

    def pick(choice: Choice) -> Option:
        size = len(choice.options)
        if choice.name not in candidate:
            return choice.options[int(rng.integers(size))]
        if choice.name not in changed:
            return candidate[choice.name]
        at = choice.options.index(candidate[choice.name])
        if rng.random() < 0.5:
            at = at + 1 if at == 0 or (at < size - 1 and rng.random() < 0.5) else at - 1
        else:
            at = (at + 1 + int(rng.integers(size - 1))) % size
        return choice.options[at]

    return space.build(pick)
