"""Sub-networks of all costs alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...core.candidate import Candidate
from ...core.errors import CallError
from ...nets.supernet import SuperNet
from ..costs import Count, costs_of
from ..steps import State, Step
from .base import Sampling

NEAR = 32
"""Networks that are drawn for one whose cost a person has named."""


@dataclass(frozen=True)
class Cost(Sampling):
    """Every cost between the cheapest and the dearest sub-network is equally likely; of one cost, all networks are.

    Uniform draws crowd in a narrow part of the range, and hardly ever reach its ends. Wang et al., "AttentiveNAS"
    (2021), section 4.1, draw a cost first and then a network of it, with a uniform distribution of costs as one of
    those that they compare. How a network of a cost is drawn, :class:`netwright.training.costs.Costs` says.

    Args:
        count: what is counted: ``macs``, ``bit_ops``, ``params``, ``weight_bytes``, ``peak_activation_bytes`` or
            ``moved_bytes``.
    """

    count: Count = "macs"

    def sample(self, net: SuperNet, rng: np.random.Generator, at: Step, state: State) -> Candidate:
        return costs_of(net, self.count).draw(float(rng.random()), rng)

    def near(self, net: SuperNet, cost: float, rng: np.random.Generator) -> Candidate:
        """A random sub-network of about this cost.

        Raises :class:`CallError` for a cost that lies outside of what sub-networks have.
        """
        costs = costs_of(net, self.count)
        if not costs.least <= cost <= costs.most:
            raise CallError(
                f"sub-networks have between {costs.least:g} and {costs.most:g} {self.count}; none has {cost:g}"
            )
        return costs.draw((cost - costs.least) / (costs.most - costs.least), rng, tried=NEAR)
