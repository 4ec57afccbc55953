"""From large to small: how small sub-networks may be grows with time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...core.candidate import Candidate, Option
from ...core.errors import RecipeError
from ...core.space import Choice
from ...nets.supernet import SuperNet
from ..steps import State, Step
from .base import Sampling


@dataclass(frozen=True)
class Descending(Sampling):
    """Each choice uniformly among its larger options, which become more until all of them are drawn.

    A curriculum from large to small: sub-networks that differ much from trained weights come in when those that differ
    little have learned. As in progressive shrinking (Cai et al. 2020, "Once-for-all", section 3.3), but of all kinds of
    choices at the same time.

    Args:
        until: the share of the training after which all options are drawn.
    """

    until: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.until <= 1:
            raise RecipeError(f"until is a share of the training, above 0 and up to 1, not {self.until}")

    def sample(self, net: SuperNet, rng: np.random.Generator, at: Step, state: State) -> Candidate:
        share = min(1.0, at.share / self.until)

        def drawn(choice: Choice) -> Option:
            first = round((1 - share) * (len(choice.options) - 1))
            return choice.options[int(rng.integers(first, len(choice.options)))]

        return net.space.build(drawn)
