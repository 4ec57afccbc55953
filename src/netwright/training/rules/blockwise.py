"""Block-wise training without labels: each block learns to give what it gives in the network that was given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ...core.candidate import Candidate
from ...core.errors import TrainingError
from ...nets.axes import Depth
from ...nets.inputs import each_tensor, tensors_in
from ...nets.pieces import find_blocks
from ...nets.supernet import SuperNet
from ..answers import Answer
from ..distillation.features import relative
from ..distillation.inner import averaged
from ..keeping import as_kept, keep_weights
from ..lesson import Lesson, finite, named, tracked
from .base import Rule, require_networks

GIVEN = "blockwise.given"
"""What the given weights are kept under, among the rule's own tensors."""


@dataclass(frozen=True)
class Blockwise(Rule):
    """Each block of a sub-network is given what it was given in the given network, and learns to give what it gave.

    Li et al., "Block-wisely supervised neural architecture search with knowledge distillation" (2020): the
    blocks are trained apart from one another, with the teacher's activations before and behind each, and no labels. The
    teacher is the super-network with the weights that it has when training begins, whole, in evaluation mode: it must
    come trained. A block goes from where one stage begins to where the next does: the first blocks of the depth axes,
    or else the network's blocks. The part before the first learns to give the first one's input, and the last part the
    network's outputs, or those of a teacher where one is given, by the distillation of the training. Of narrower
    sub-networks the channels that they have, the first, are compared, and sizes that differ are averaged. The loss is
    the mean over the parts of the squared differences, relative to the teacher's mean square, but for the outputs.

    A step costs a forward of the whole network, and a forward and backward of ``random`` + 1 sub-networks. Checkpoints
    hold the given weights beside those that learn.

    Args:
        random: how many random sub-networks learn from each batch, beside the smallest.
        blocks: paths of the modules with which blocks begin; () finds them.
    """

    random: int = 2
    blocks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require_networks(self.random, 0)
        if isinstance(self.blocks, str):
            object.__setattr__(self, "blocks", (self.blocks,))

    def step(self, net: SuperNet, lesson: Lesson) -> float:
        names = self.blocks or first_blocks(net)
        if missing := [name for name in names if name not in net.index.modules]:
            raise TrainingError(f"blockwise: the network has no module {missing[0]!r}; named_modules() lists them")
        keep_weights(net, lesson.state, GIVEN)
        with as_kept(net, lesson.state, GIVEN), net.active(net.largest) as module:
            teacher = _taught(module, lesson, names)
        teacher.answer = lesson.taught(net.module) or teacher.answer
        drawn = [net.smallest, *(lesson.sample(net) for _ in range(self.random))]
        losses = [self._learn(net, candidate, lesson, teacher) for candidate in drawn]
        return sum(losses) / len(losses)

    def _learn(self, net: SuperNet, candidate: Candidate, lesson: Lesson, teacher: _Seen) -> float:
        """Add the gradients of one sub-network."""
        with net.active(candidate) as module, tracked(module, False), _fed(module, teacher) as losses:
            losses.append(lesson.compared(lesson.answer(module), teacher.answer))
            value = finite(torch.stack(losses).mean(), named(net, candidate))
            value.backward()
        loss = float(value.detach())
        lesson.sampling.told(net, candidate, loss, lesson.at, lesson.state)
        return loss


@dataclass
class _Seen:
    """What the teacher gave, and what each block was given in it: the tensors of numbers among its arguments."""

    inputs: dict[str, list[Tensor]] = field(default_factory=dict)
    answer: Answer = field(default_factory=lambda: Answer(None))


def first_blocks(net: SuperNet) -> list[str]:
    """The modules with which the blocks of a super-network begin: of each stage that may be cut short the first; where
    there is none, all that the network has."""
    stages = [part.blocks[0] for axis in net.axes for part in axis.members() if isinstance(part, Depth) and part.blocks]
    return [*dict.fromkeys(stages or find_blocks(net.module))]


@torch.no_grad()
def _taught(module: nn.Module, lesson: Lesson, names: Sequence[str]) -> _Seen:
    """What a network gives, with what each block is given in it."""
    seen = _Seen()

    def keep(name: str) -> Any:
        def hook(_: nn.Module, args: Any, kwargs: Any) -> None:
            seen.inputs[name] = [t.detach() for t in _numbers((args, kwargs))]

        return hook

    with ExitStack() as stack:
        for name in names:
            own = module.get_submodule(name)
            stack.callback(own.register_forward_pre_hook(keep(name), with_kwargs=True).remove)
        seen.answer = lesson.answer(module).detached()
    return seen


@contextmanager
def _fed(module: nn.Module, teacher: _Seen) -> Iterator[list[Tensor]]:
    """Each block is given what the teacher's was, while this lasts; gives how far from it that is what came."""
    losses: list[Tensor] = []

    def feed(wanted: list[Tensor]) -> Any:
        def hook(_: nn.Module, args: Any, kwargs: Any) -> Any:
            come = _numbers((args, kwargs))
            pairs = {id(a): _alike(a, b) for a, b in zip(come, wanted, strict=False) if a.dim() == b.dim()}
            for tensor in come:
                goal = pairs.get(id(tensor))
                if goal is not None and tensor.requires_grad:
                    losses.append(relative(tensor, goal))
            return each_tensor((args, kwargs), lambda t: t if pairs.get(id(t)) is None else pairs[id(t)])

        return hook

    with ExitStack() as stack:
        own = dict(module.named_modules())
        for name, wanted in teacher.inputs.items():
            if name in own:
                stack.callback(own[name].register_forward_pre_hook(feed(wanted), with_kwargs=True).remove)
        yield losses


def _numbers(value: Any) -> list[Tensor]:
    return [tensor for tensor in tensors_in(value) if tensor.is_floating_point()]


def _alike(come: Tensor, wanted: Tensor) -> Tensor | None:
    """What is wanted, in the shape of what came: the first channels, and sizes averaged; None where it has less."""
    if come.dim() in (4, 5) and come.shape[2:] != wanted.shape[2:]:
        wanted = averaged(wanted, come.shape[2:])
    for dim, size in enumerate(come.shape):
        if wanted.shape[dim] < size:
            return None
        wanted = wanted.narrow(dim, 0, size)
    return wanted.to(come.dtype)
