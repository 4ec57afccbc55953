"""Sorted training: sub-networks that lie within one another."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

from ...core.candidate import Candidate, Option
from ...core.space import Choice
from ...nets.supernet import SuperNet
from ..kinds import kinds_of
from ..lesson import Lesson
from .base import Rule, require_networks


@dataclass(frozen=True)
class Sorted(Rule):
    """Random nested sub-networks learn from the targets; their gradients are averaged.

    Valipour et al., "SortedNet: a scalable and generalized framework for training modular deep neural networks" (2023).
    All choices of a kind go together: one level for all widths, one for all depths, one for all kernels. Of two
    networks of which one has no higher level of any kind, it lies within the other: far fewer networks share the
    weights than the space has, and which one is chosen for a budget is no search. Others of the space are hardly
    trained. Choices of a menu are drawn each by itself.

    Args:
        networks: how many sub-networks learn from each batch.
    """

    networks: int = 4

    def __post_init__(self) -> None:
        require_networks(self.networks, 1, "networks")

    def step(self, net: SuperNet, lesson: Lesson) -> float:
        drawn = [self.draw(net, lesson) for _ in range(self.networks)]
        return fmean(lesson.learn(net, candidate, weight=1 / self.networks)[0] for candidate in drawn)

    def draw(self, net: SuperNet, lesson: Lesson) -> Candidate:
        """A random sub-network of the nested ones: the level of a kind is that of its choice with most options."""
        drawn, kinds = lesson.sample(net), kinds_of(net)
        levels: dict[str, tuple[int, int]] = {}
        for choice in net.space:
            most = len(choice.options)
            if choice.name in drawn and most > levels.get(kinds[choice.name], (0, 0))[1]:
                levels[kinds[choice.name]] = choice.options.index(drawn[choice.name]), most

        def pick(choice: Choice) -> Option:
            kind = kinds[choice.name]
            if kind == "free" and choice.name in drawn:
                return drawn[choice.name]
            if kind not in levels:  # none of it is active in what was drawn
                levels[kind] = int(lesson.rng.integers(len(choice.options))), len(choice.options)
            level, most = levels[kind]
            return choice.options[(2 * level + 1) * len(choice.options) // (2 * most)]

        return net.space.build(pick)
