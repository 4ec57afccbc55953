"""Sub-networks of all costs alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...core.candidate import Candidate
from ...nets.supernet import SuperNet
from ..costs import Count, costs_of
from ..steps import State, Step
from .base import Sampling


@dataclass(frozen=True)
class Cost(Sampling):
    """Every cost between the cheapest and the dearest sub-network is equally likely; of one cost, all networks are.

    Uniform draws crowd in a narrow part of the range, and hardly ever reach its ends. Wang et al., "AttentiveNAS"
    (2021), section 4.1, draw a cost first and then a network of it, with a uniform distribution of costs as one of
    those that they compare. How a network of a cost is drawn, :class:`netwright.training.costs.Costs` says.

    Args:
        count: what is counted: ``macs``, ``params``, ``weight_bytes``, ``peak_activation_bytes`` or ``moved_bytes``.
    """

    count: Count = "macs"

    def sample(self, net: SuperNet, rng: np.random.Generator, at: Step, state: State) -> Candidate:
        return costs_of(net, self.count).draw(float(rng.random()), rng)
