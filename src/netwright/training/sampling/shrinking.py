"""Options that do not earn their place are no longer drawn."""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import numpy as np
import torch
from torch import Tensor

from ...core.candidate import Candidate, Option
from ...core.errors import RecipeError
from ...core.space import Choice
from ...nets.supernet import SuperNet
from ..costs import Count, costs_of
from ..steps import State, Step
from .base import Sampling

FORGETS = 0.99
"""How much of what was learned of losses stays at each new one: they fall while the training goes on."""

SURE = 2.0
"""Standard errors by which an option must be worse than the others of its choice."""

FIT, OPTIONS, DROPPED, TIMES = (f"shrinking.{name}" for name in ("fit", "options", "dropped", "times"))


@dataclass(frozen=True)
class Shrinking(Sampling):
    """Every choice by itself, of the options that are left; now and then the worst option of each choice is dropped.

    After Chen et al., "One-shot neural ensemble architecture search by diversity-guided search space shrinking" (NEAS,
    2021), which drops the operators of least score in rounds while the super-network trains. An option's
    score here is by how much the losses of its networks lie below what networks of their cost have (their diversity
    score is of ensembles, and not here): smaller options are not dropped for being small. An option is dropped where
    it is worse than the others of its choice by two standard errors; two of each choice always stay, and so do the
    largest and the smallest network where a rule takes them.

    Args:
        start, end: the shares of the training between which options are dropped.
        rounds: how often, at even distances.
        count: what a cost is: a count such as ``macs`` or ``params``.
    """

    start: float = 0.3
    end: float = 0.8
    rounds: int = 4
    count: Count = "macs"

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end <= 1:
            raise RecipeError(
                f"start and end are shares of the training in order, from 0 to 1, not {self.start} and {self.end}"
            )
        if self.rounds < 1:
            raise RecipeError(f"rounds is how often options are dropped, 1 or more, not {self.rounds}")

    def sample(self, net: SuperNet, rng: np.random.Generator, at: Step, state: State) -> Candidate:
        left = self.left(net, state)

        def pick(choice: Choice) -> Option:
            options = left[choice.name]
            return options[int(rng.integers(len(options)))]

        return net.space.build(pick)

    def told(self, net: SuperNet, candidate: Candidate, loss: float, at: Step, state: State) -> None:
        if loss <= 0 or candidate in (net.largest, net.smallest):  # rules teach these otherwise than what they draw
            return
        shape = len(net.space), max((len(choice.options) for choice in net.space), default=1)
        for name, size in ((FIT, (5,)), (OPTIONS, (3, *shape)), (DROPPED, shape), (TIMES, ())):
            state.setdefault(name, torch.zeros(size, dtype=torch.float64))
        share = costs_of(net, self.count).share_of(candidate)
        above = _above(share, log(loss), state[FIT])
        state[OPTIONS] *= FORGETS
        for i, choice in enumerate(net.space):
            if choice.name in candidate:
                at_option = choice.options.index(candidate[choice.name])
                state[OPTIONS][:, i, at_option] += torch.tensor([1.0, above, above**2], dtype=torch.float64)
        if self._is_time(at, int(state[TIMES])):
            state[TIMES] += 1
            self._drop(net, state)

    def left(self, net: SuperNet, state: State) -> dict[str, tuple[Option, ...]]:
        """The options of each choice that are not dropped, by its name."""
        dropped = state.get(DROPPED)
        return {
            choice.name: tuple(o for at, o in enumerate(choice.options) if dropped is None or not dropped[i, at])
            for i, choice in enumerate(net.space)
        }

    def _is_time(self, at: Step, times: int) -> bool:
        reached = self.start + (self.end - self.start) * times / max(1, self.rounds - 1)
        return times < self.rounds and at.share >= reached

    def _drop(self, net: SuperNet, state: State) -> None:
        """Drop the worst option of each choice that has more than two, where it is surely worse than the others."""
        for i, choice in enumerate(net.space):
            known = state[OPTIONS][:, i, : len(choice.options)].numpy()
            there = (known[0] > 1) & (state[DROPPED][i, : len(choice.options)].numpy() == 0)
            if there.sum() <= 2:
                continue
            mean = np.where(there, known[1] / np.maximum(known[0], 1e-12), -np.inf)
            worst = int(mean.argmax())
            others = known[:, there & (np.arange(len(there)) != worst)].sum(1)
            if mean[worst] - others[1] / others[0] > SURE * np.hypot(_error(known[:, worst]), _error(others)):
                state[DROPPED][i, worst] = 1


def _error(sums: np.ndarray) -> float:
    """The standard error of a mean, of the number, the sum and the sum of squares."""
    n, total, squares = sums
    return float(np.sqrt(max(squares / n - (total / n) ** 2, 0.0) / n))


def _above(x: float, y: float, fit: Tensor) -> float:
    """By how much y lies above the line through the values before it, which it then joins.

    Args:
        x, y: the values.
        fit: their number and the sums of x, y, xx and xy so far, in place.
    """
    n, sx, sy, sxx, sxy = fit.tolist()
    spread = n * sxx - sx * sx
    slope = (n * sxy - sx * sy) / spread if spread > 1e-9 else 0.0
    above = y - (sy + slope * (n * x - sx)) / n if n else 0.0
    fit.mul_(FORGETS).add_(torch.tensor([1.0, x, y, x * x, x * y], dtype=torch.float64))
    return above
