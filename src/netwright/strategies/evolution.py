"""Evolution: survival and selection as NSGA-II has them (pymoo), variation that knows spaces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core.candidate import Candidate, Option
from ..core.record import Record
from ..core.space import Choice, Space
from .base import Problem, Strategy, ends, fresh


@dataclass(frozen=True)
class Nsga2(Strategy):
    """NSGA-II (Deb et al. 2002): rank and crowding decide who survives and who mates.

    The parents are the survivors of everything measured so far, so that the strategy has no state; candidates that
    break limits rank behind all others, by how far they do.

    Args:
        population: how many survive, and how many random networks start.
    """

    batch: int = 10
    population: int = 20

    def ask(self, problem: Problem, history: Sequence[Record], n: int) -> list[Candidate]:
        rng = problem.rng(history)
        first = ends(problem, history, n)
        known = [*(r.candidate for r in history), *first]
        parents = Parents.of(problem, history, self.population)
        if len(history) < self.population or len(parents) < 2:
            return first + fresh(problem, known, n - len(first), rng, lambda: problem.space.sample(rng))
        return first + fresh(problem, known, n - len(first), rng, lambda: parents.child(problem.space, rng))


class Parents:
    """Survivors with their rank and crowding.

    Args:
        candidates: who competes.
        losses: float64 of shape (candidates, objectives), less is better.
        excess: how far each is beyond the limits, shape (candidates,); 0: feasible.
        survivors: how many remain.
    """

    def __init__(self, candidates: Sequence[Candidate], losses: np.ndarray, excess: np.ndarray, survivors: int) -> None:
        from pymoo.core.population import Population
        from pymoo.operators.survival.rank_and_crowding import RankAndCrowding

        feasible = np.flatnonzero(excess <= 0)
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
        worst = np.argsort(excess, kind="stable")
        for i in worst[excess[worst] > 0][: survivors - len(self.candidates)]:
            self.candidates.append(candidates[i])
            self._order.append((np.inf, float(excess[i])))
            self.losses = np.vstack([self.losses, losses[i]])

    @classmethod
    def of(cls, problem: Problem, history: Sequence[Record], survivors: int) -> Parents:
        """The survivors of what was measured whole."""
        found = [(r, losses) for r in history if r.status != "failed" and (losses := problem.losses(r)) is not None]
        return cls(
            [r.candidate for r, _ in found],
            np.array([losses for _, losses in found]).reshape(len(found), len(problem.objectives)),
            np.array([problem.excess(r.values) for r, _ in found]),
            survivors,
        )

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
