"""Every choice by itself, each option equally likely."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...core.candidate import Candidate
from ...nets.supernet import SuperNet
from ..steps import State, Step
from .base import Sampling


@dataclass(frozen=True)
class Uniform(Sampling):
    """Every choice by itself, each option equally likely.

    Guo et al., "Single path one-shot neural architecture search with uniform sampling" (2020), section 3.2.
    """

    def sample(self, net: SuperNet, rng: np.random.Generator, at: Step, state: State) -> Candidate:
        return net.space.sample(rng)
