"""One random sub-network a step."""

from __future__ import annotations

from dataclasses import dataclass

from ...nets.supernet import SuperNet
from ..lesson import Lesson
from .base import Rule


@dataclass(frozen=True)
class SinglePath(Rule):
    """Each batch teaches one sub-network, drawn at random.

    Guo et al., "Single path one-shot neural architecture search with uniform sampling" (2020), section 3.2. A step
    costs a third of the sandwich's or less. Hardly any running statistics are kept: recalibrate what is extracted.
    """

    def step(self, net: SuperNet, lesson: Lesson) -> float:
        return lesson.learn(net, lesson.sample(net))[0]
