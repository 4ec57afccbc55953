"""A mixture of super-networks, trained by another rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ...nets.sharing import mixture
from ...nets.supernet import SuperNet
from .within import Within


@dataclass(frozen=True)
class Mixture(Within):
    """The weights of every sub-network are a mixture of several sets, by a router that learns with them.

    Jawahar et al. (2024), arXiv 2306.04845; see :class:`netwright.nets.sharing.Mixture`. A step costs what that of the
    rule within costs, and the sums of all sets of weights, whatever the size of the batch; memory holds as many sets.

    Args:
        rule: who learns from each batch, such as ``(sandwich,random=1)``.
        sets: how many sets of weights there are.
        per: one mixture for each tensor (``layer``) or for each of its rows (``neuron``).
    """

    sets: int = 2
    per: Literal["layer", "neuron"] = "layer"

    def prepare(self, net: SuperNet) -> None:
        super().prepare(net)
        mixture(net, self.sets, per=self.per)
