"""What a sampling is: which sub-network is drawn where a rule wants a random one."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from ...core.candidate import Candidate
from ...nets.supernet import SuperNet
from ..steps import State, Step


class Sampling(ABC):
    """How rules draw random sub-networks."""

    @abstractmethod
    def sample(self, net: SuperNet, rng: np.random.Generator, at: Step, state: State) -> Candidate:
        """A sub-network of the space.

        Args:
            net: the super-network.
            rng: the only source of randomness.
            at: which step of how many.
            state: tensors by name that are kept from step to step, shared with the rule: name yours by the sampling.
        """

    def told(  # noqa: B027  # most samplings do not learn
        self, net: SuperNet, candidate: Candidate, loss: float, at: Step, state: State
    ) -> None:
        """What a sub-network's loss was when it learned, whoever has drawn it.

        Args:
            net: the super-network.
            candidate: the sub-network.
            loss: of the targets, or of what it learned from.
            at: which step of how many.
            state: as in :meth:`sample`.
        """
