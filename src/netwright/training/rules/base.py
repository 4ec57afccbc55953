"""What a rule is: which sub-networks learn from a batch, and from whom."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import numpy as np

from ...core.errors import RecipeError
from ...nets.supernet import SuperNet
from ..lesson import Lesson
from ..steps import State, Step


class Rule(ABC):
    """Which sub-networks learn from each batch, and from whom."""

    def prepare(self, net: SuperNet) -> None:
        """Change the super-network before it is trained, in place: further weights, for instance. It is called before
        weights are loaded too, and leaves alone what is prepared already. By default nothing is changed."""
        return

    @abstractmethod
    def step(self, net: SuperNet, lesson: Lesson) -> float:
        """Add the gradients of one batch to the shared weights.

        Args:
            net: in training mode, if it is to be.
            lesson: the batch, and what is learned from it.

        Returns the loss of the largest (or the only) network, without what is learned from a teacher.
        """

    def data(self, loader: Iterable[Any], rng: np.random.Generator, *, at: Step, state: State) -> Iterable[Any]:
        """The batches of an epoch: those of the loader, or what the rule makes of them.

        Args:
            loader: of the training data.
            rng: for this alone; batches may be drawn one by one.
            at: the first step of the epoch.
            state: as it is when the epoch begins, to be read: so an epoch that was interrupted is gone on with.
        """
        return loader


TARGETS = 0.25
"""The share of the targets in what the smaller networks of a sandwich learn: between short trainings, where more is
better, and the digits, where less is (docs/training.md, "Which rule when")."""


def require_targets(value: float) -> None:
    """Raise :class:`RecipeError` for a setting that is the share of the targets, and no share."""
    if not 0 <= value <= 1:
        raise RecipeError(f"targets is a share, from 0 to 1, not {value}")


def require_networks(value: int, least: int, name: str = "random") -> None:
    """Raise :class:`RecipeError` for a setting that is a number of sub-networks, and less than it may be."""
    if value < least:
        raise RecipeError(f"{name} is a number of sub-networks, {least} or more, not {value}")
