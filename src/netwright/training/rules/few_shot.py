"""Few-shot training: one set of weights at first, then several, where sub-networks want different things of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from ...core.candidate import Candidate, Option
from ...core.errors import RecipeError
from ...core.space import Choice
from ...nets.sharing.split import Split, assign, follow, reserve
from ...nets.supernet import SuperNet
from ..gradients import set_aside
from ..lesson import Lesson
from .within import Within

MANY = 8
"""Options of which not all ways to make two groups are compared, but those that keep their order."""

COSINES = "few-shot.cosines"
"""What the rule remembers, from the step in which gradients are compared to the next, in which choices are split."""

Groups = tuple[tuple[Option, ...], tuple[Option, ...]]


@dataclass(frozen=True)
class FewShot(Within):
    """All sub-networks share one set of weights, until the options of a choice that disagree the most get their own.

    Hu et al., "Generalizing few-shot NAS with gradient matching" (2022), arXiv 2203.15207: for each choice
    the gradients that its options have at the shared weights are compared by their cosine, its options are put into two
    groups so that the mean cosine between the groups is the smallest, and the choice with the smallest of all is split.
    Both groups go on from the shared weights. The paper splits what was split once more; here the choices with the next
    smallest are split at the same time. Gradients are those of one batch, in sub-networks that differ in the one choice
    alone, over the weights that both use.

    A step costs what that of the rule within costs; the one that splits, a forward and backward for every option of
    every choice and each of ``samples``. Memory holds as many sets of weights from the beginning.

    Args:
        rule: who learns from each batch, such as ``(sandwich,random=1)``.
        splits: how many choices are split; there are 2 to their power sets of weights.
        begin: the share of the training after which they are.
        samples: how many random sub-networks are compared for each choice.
    """

    splits: int = 1
    begin: float = 0.5
    samples: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.splits < 1 or self.samples < 1 or not 0 <= self.begin <= 1:
            raise RecipeError(
                "few-shot: splits and samples are 1 or more and begin is a share from 0 to 1, not "
                f"splits={self.splits}, samples={self.samples}, begin={self.begin}"
            )

    def prepare(self, net: SuperNet) -> None:
        super().prepare(net)
        several = sum(len(choice.options) > 1 for choice in net.space)
        if several < self.splits:
            raise RecipeError(f"few-shot: the space has {several} choices that could be split, fewer than splits="
                              f"{self.splits}")  # fmt: skip
        reserve(net, 2**self.splits)

    def step(self, net: SuperNet, lesson: Lesson) -> float:
        if isinstance(net.sharing, Split) and not net.sharing.in_use(net.index):
            follow(net)  # so that averages of the weights are those of all sets
            if COSINES in lesson.state:  # a step later, when processes that train together have the same
                for place, (_, choice, groups) in enumerate(disagreements(net, lesson.state[COSINES])[: self.splits]):
                    assign(net, choice, groups, 2**place)
            elif lesson.at.share >= self.begin:
                lesson.state[COSINES] = cosines(net, lesson, self.samples)
        return super().step(net, lesson)


def cosines(net: SuperNet, lesson: Lesson, samples: int) -> Tensor:
    """Between the gradients of every two options of each choice, the mean over sub-networks that are alike in all else:
    of shape (choices, options, options); 1 where there is nothing to compare.

    Args:
        net: the super-network.
        lesson: a batch; nothing is added to the gradients that are there.
        samples: how many random sub-networks are compared for each choice.
    """
    most = max(len(choice.options) for choice in net.space)
    found = torch.ones(len(net.space), most, most, dtype=torch.float64)
    for place, choice in enumerate(net.space):
        n, several = len(choice.options), list[Tensor]()
        for _ in range(samples if n > 1 else 0):
            drawn = lesson.sample(net)
            candidates = [net.space.build(_with(drawn, choice, option, lesson.rng)) for option in choice.options]
            if all(choice.name in candidate for candidate in candidates):
                gradients = [_gradient(net, lesson, candidate) for candidate in candidates]
                several.append(torch.tensor([[_cosine(one, other) for other in gradients] for one in gradients]))
        if several:
            found[place, :n, :n] = torch.stack(several).double().mean(0)
    return found


def disagreements(net: SuperNet, cosines: Tensor) -> list[tuple[float, str, Groups]]:
    """For each choice with several options the mean cosine between two groups of them, and the two groups: the choice
    whose options disagree the most first.

    Args:
        net: the super-network.
        cosines: see :func:`cosines`.
    """
    found = []
    for choice, square in zip(net.space, cosines.numpy(), strict=True):
        if (n := len(choice.options)) > 1:
            mean, groups = grouped(choice.options, square[:n, :n])
            found.append((mean, choice.name, groups))
    return sorted(found, key=lambda each: each[0])


def _with(drawn: Candidate, choice: Choice, option: Option, rng: np.random.Generator) -> Callable[[Choice], Option]:
    """What decides each choice: as was drawn, but for one."""

    def pick(each: Choice) -> Option:
        if each.name == choice.name:
            return option
        return drawn[each.name] if each.name in drawn else each.options[int(rng.integers(len(each.options)))]

    return pick


def _gradient(net: SuperNet, lesson: Lesson, candidate: Candidate) -> list[Tensor | None]:
    """Of the shared weights; those that are there stay as they are."""
    parameters = list(net.module.parameters())
    with set_aside(parameters):
        lesson.learn(net, candidate)
        found = [p.grad for p in parameters]
        for p in parameters:
            p.grad = None
    return found


def _cosine(one: Sequence[Tensor | None], other: Sequence[Tensor | None]) -> float:
    """Over the weights that both use: where neither gradient is 0."""
    product, sizes = 0.0, [0.0, 0.0]
    for a, b in zip(one, other, strict=True):
        if a is not None and b is not None:
            both = (a != 0) & (b != 0)
            a, b = a[both].double(), b[both].double()
            product += float((a * b).sum())
            sizes = [sizes[0] + float(a.square().sum()), sizes[1] + float(b.square().sum())]
    return product / max((sizes[0] * sizes[1]) ** 0.5, torch.finfo(torch.float64).tiny)


def grouped(options: Sequence[Option], cosines: np.ndarray) -> tuple[float, Groups]:
    """The two groups of options with the smallest mean cosine between them, and this mean."""
    n = len(options)
    if n > MANY:
        parts: list[tuple[int, ...]] = [tuple(range(k)) for k in range(1, n)]
    else:
        parts = [each for k in range(1, n) for each in combinations(range(n), k) if n - 1 not in each]

    def between(part: tuple[int, ...]) -> float:
        rest = [i for i in range(n) if i not in part]
        return float(cosines[np.ix_(part, rest)].mean())

    best = min(parts, key=between)
    rest = tuple(options[i] for i in range(n) if i not in best)
    return between(best), (tuple(options[i] for i in best), rest)
