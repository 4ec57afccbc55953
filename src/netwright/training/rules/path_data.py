"""Joint importance sampling: paths and examples with large gradients are drawn more often."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from ...core.candidate import Candidate, Option
from ...core.space import Choice
from ...core.warn import warn
from ...nets.inputs import tensors_in
from ...nets.paths import within
from ...nets.supernet import SuperNet
from ..examples import Chosen, examples_of
from ..gradients import set_aside
from ..lesson import Lesson
from ..steps import State, Step
from .base import Rule

PATHS, EXAMPLES = "path-data.paths", "path-data.examples"

KEPT = 0.9
"""How much of the mean of an option's gradient norms stays when another comes; the authors begin anew each epoch."""


@dataclass(frozen=True)
class PathData(Rule):
    """One random sub-network learns from the targets; options and examples of larger gradients come more often.

    Lu et al., "PA&DA: jointly sampling path and data for consistent NAS" (2023), section 3: the variance of the
    gradient is least where both are drawn in proportion to the norms of their gradients. An option's is that of the
    weights which its choice changes; an example's that of the loss by the network's outputs, which bounds it. Both are
    mixed with the sampling of the training and with equal probabilities, from which they take over as the training goes
    on. As in the authors' code, gradients are not divided by the probabilities.

    Examples are chosen of a :class:`netwright.TensorLoader` and of a DataLoader over a data set with a length.
    """

    def step(self, net: SuperNet, lesson: Lesson) -> float:
        chosen = lesson.batch if isinstance(lesson.batch, Chosen) else None
        if chosen:
            lesson = replace(lesson, batch=chosen.batch)
        candidate = self.draw(net, lesson)
        with set_aside(net.module.parameters()), _gradients_of_outputs(net.module) as seen:
            value, _ = lesson.learn(net, candidate)
            _note_paths(net, candidate, lesson.state)
        if chosen:
            _note_examples(chosen, seen, lesson.state)
        return value

    def draw(self, net: SuperNet, lesson: Lesson) -> Candidate:
        """A random sub-network: each option is the sampling's, or drawn by the norms of gradients."""
        drawn, norms = lesson.sample(net), lesson.state.get(PATHS)
        places = {choice.name: i for i, choice in enumerate(net.space)}

        def pick(choice: Choice) -> Option:
            options = choice.options
            if norms is not None and lesson.rng.random() < lesson.at.share:
                own = norms[places[choice.name], : len(options)].numpy()
                return options[int(lesson.rng.choice(len(options), p=_likely(own)))]
            return drawn[choice.name] if choice.name in drawn else options[int(lesson.rng.integers(len(options)))]

        return net.space.build(pick)

    def data(self, loader: Iterable[Any], rng: np.random.Generator, *, at: Step, state: State) -> Iterable[Any]:
        examples = examples_of(loader)
        if examples is None:
            if not at.epoch:
                warn(
                    f"the rule path-data chooses examples of a TensorLoader, or of a DataLoader over a data set with a "
                    f"length, not of a {type(loader).__name__}: it chooses sub-networks alone"
                )
            return loader
        norms = state[EXAMPLES].numpy() if EXAMPLES in state else np.zeros(examples.count)
        total = norms.sum()
        equal = np.full(examples.count, 1 / examples.count)
        likely = at.share * norms / total + (1 - at.share) * equal if total else equal
        return examples.chosen(likely, rng)


def _likely(norms: np.ndarray) -> np.ndarray:
    """Probabilities by norms; what is not known yet, or changes no weights, is as likely as the mean of the others."""
    known = norms > 0
    filled = np.where(known, norms, norms[known].mean() if known.any() else 1.0)
    return filled / filled.sum()


@contextmanager
def _gradients_of_outputs(module: nn.Module) -> Iterator[list[Tensor]]:
    """The gradients that come back to a network's outputs while the block lasts."""
    seen: list[Tensor] = []

    def watch(_: nn.Module, __: Any, outputs: Any) -> None:
        for tensor in tensors_in(outputs):
            if tensor.requires_grad:
                tensor.register_hook(lambda grad: seen.append(grad.detach()))

    handle = module.register_forward_hook(watch)
    try:
        yield seen
    finally:
        handle.remove()


def _note_examples(chosen: Chosen, seen: Sequence[Tensor], state: State) -> None:
    """Remember the norms of what came back for each example: the mean with what it was before, as the authors do."""
    index = chosen.index.cpu()
    known = state.setdefault(EXAMPLES, torch.zeros(chosen.count, dtype=torch.float64))
    each = [grad.flatten(1).double().pow(2).sum(1) for grad in seen if grad.dim() and len(grad) == len(index)]
    if each:
        norms = (torch.stack(each).sum(0).sqrt() * len(index)).cpu()
        known[index] = torch.where(known[index] > 0, (known[index] + norms) / 2, norms)


def _note_paths(net: SuperNet, candidate: Candidate, state: State) -> None:
    """Remember the norms of the gradients of what each choice changes, by the option that was taken."""
    grads = {name: p.grad for name, p in net.module.named_parameters() if p.grad is not None}
    norms = torch.stack([grad.double().pow(2).sum() for grad in grads.values()] or [torch.zeros(())]).cpu()
    squares = dict(zip(grads, norms.tolist(), strict=False))
    most = max((len(choice.options) for choice in net.space), default=1)
    known = state.setdefault(PATHS, torch.zeros(len(net.space), most, dtype=torch.float64))
    changed = _changed(net)
    for i, choice in enumerate(net.space):
        if choice.name not in candidate:
            continue
        at = choice.options.index(candidate[choice.name])
        norm = sum(squares.get(name, 0.0) for name in changed[choice.name]) ** 0.5
        known[i, at] = KEPT * known[i, at] + (1 - KEPT) * norm if known[i, at] else norm


_CHANGED: WeakKeyDictionary[SuperNet, dict[str, list[str]]] = WeakKeyDictionary()


def _changed(net: SuperNet) -> dict[str, list[str]]:
    """The parameters in the modules that each choice changes, by its name; found out once."""
    if net not in _CHANGED:
        names = [name for name, _ in net.module.named_parameters()]
        paths = {axis.name: axis.affected_modules(net.index) for axis in net.axes}
        _CHANGED[net] = {
            choice: [name for name in names if any(within(name, path) for path in places)]
            for choice, places in paths.items()
        }
    return _CHANGED[net]
