"""A super-network's weights as they were: kept among a rule's tensors, to be learned from later."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..nets.inputs import evaluating
from ..nets.supernet import SuperNet
from .answers import Answer
from .lesson import Lesson
from .steps import State


def keep_weights(net: SuperNet, state: State, name: str) -> None:
    """Keep the weights as they are now, unless some are kept already.

    Args:
        net: the super-network.
        state: of the rule.
        name: what they are kept under.
    """
    if not any(key.startswith(f"{name}.") for key in state):
        state.update({f"{name}.{key}": tensor.detach().clone() for key, tensor in net.module.state_dict().items()})


@torch.no_grad()
def kept_answer(net: SuperNet, lesson: Lesson, name: str) -> Answer:
    """What the largest network gave with the weights that are kept, in evaluation mode."""
    with as_kept(net, lesson.state, name), net.active(net.largest) as module:
        return lesson.answer(module).detached()


@contextmanager
def as_kept(net: SuperNet, state: State, name: str) -> Iterator[None]:
    """The network with the weights that are kept, in evaluation mode, while the block lasts."""
    begin = f"{name}."
    kept = {key.removeprefix(begin): tensor for key, tensor in state.items() if key.startswith(begin)}
    with evaluating(net.module), _with_weights(net.module, kept):
        yield


@contextmanager
def _with_weights(module: nn.Module, kept: Mapping[str, Tensor]) -> Iterator[None]:
    """A module with other weights and buffers while the block lasts."""
    own = {id(tensor): (tensor, kept[key]) for key, tensor in module.state_dict(keep_vars=True).items()}
    before = [(tensor, tensor.data) for tensor, _ in own.values()]
    try:
        for tensor, other in own.values():  # in the layout of its own, on which the last bits of what it gives depend
            tensor.data = torch.empty_like(tensor.data).copy_(other)
        yield
    finally:
        for tensor, data in before:
            tensor.data = data
