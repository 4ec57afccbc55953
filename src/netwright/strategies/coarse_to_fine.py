"""From coarse to fine: uniform networks first, then single choices of the best of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from ..core.candidate import Candidate, Option
from ..core.record import Record
from ..core.space import Choice
from .base import LISTED, Problem, Strategy, draw_new, initial_candidates
from .evolution import Parents, mutate
from .integer_encoding import kinds_of

LEVELS = (0.0, 0.5, 1.0)
"""Where along its options a choice of a uniform network stands."""


@dataclass(frozen=True)
class CoarseToFine(Strategy):
    """The coarse-to-fine selection of BigNAS (Yu et al. 2020, section 3.3), for any number of objectives.

    Coarse: networks in which all choices with the same options stand at the same level (input size, depth, width and
    kernel are each one number then), a grid of them measured in random order. Fine: from the best found, one or a
    few single choices are changed at random.

    Args:
        coarse: how many uniform networks are measured at most.
        population: how many of the best are changed.
    """

    batch: int = 8
    coarse: int = 40
    population: int = 20

    positive = ("batch", "coarse", "population")

    def ask(self, problem: Problem, history: Sequence[Record], n: int) -> list[Candidate]:
        rng = problem.rng(history)
        chosen = initial_candidates(problem, history, n)
        uniform = iter(self._grid(problem)[len(history) + len(problem.pending) :])
        parents = Parents.of(problem, history, self.population)

        def draw() -> Candidate:
            found = next(uniform, None)
            if found is None:
                found = mutate(problem.space, parents.select(rng), rng) if len(parents) else problem.space.sample(rng)
            return found

        return chosen + draw_new(problem, [*problem.proposed(history), *chosen], n - len(chosen), rng, draw)

    def _grid(self, problem: Problem) -> list[Candidate]:
        """Uniform networks in a random order that is the same at every ask."""
        choices = list(problem.space)
        grid_rng = np.random.default_rng(problem.seed)
        kinds = kinds_of(problem.space)
        kind_of = {choices[at].name: i for i, places in enumerate(kinds) for at in places}
        if len(LEVELS) ** len(kinds) <= LISTED:
            levels = np.array(list(product(LEVELS, repeat=len(kinds))))
            grid_rng.shuffle(levels)
        else:
            levels = grid_rng.choice(LEVELS, size=(4 * self.coarse, len(kinds)))
        found: dict[Candidate, None] = {}
        for row in levels:

            def pick(choice: Choice, row: np.ndarray = row) -> Option:
                return choice.options[round(row[kind_of[choice.name]] * (len(choice.options) - 1))]

            found[problem.space.build(pick)] = None
        return list(found)[: self.coarse]
