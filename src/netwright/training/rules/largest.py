"""Plain training: the largest network alone."""

from __future__ import annotations

from dataclasses import dataclass

from ...nets.supernet import SuperNet
from ..lesson import Lesson
from .base import Rule


@dataclass(frozen=True)
class Largest(Rule):
    """The largest network learns, as it would without being a super-network.

    For what smaller networks are measured against, and for weights that other rules start from.
    """

    def step(self, net: SuperNet, lesson: Lesson) -> float:
        return lesson.learn(net, net.largest)[0]
