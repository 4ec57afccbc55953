"""Teachers: networks whose outputs others learn from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from ..core.errors import CallError, TrainingError
from ..nets.devices import placed
from ..nets.inputs import Inputs, each_tensor, evaluating, tensors_in
from .answers import Answer, Teacher, answer_of

Teachers = nn.Module | Sequence[nn.Module]
"""A network, or several whose outputs are averaged."""


@contextmanager
def teaching(networks: Teachers | None, device: torch.device) -> Iterator[Teacher | None]:
    """The teacher that one or several networks are while the block lasts: on the device, in evaluation mode.

    Raises :class:`CallError` for what is no network.
    """
    if networks is None:
        yield None
        return
    several = list(networks) if isinstance(networks, Sequence) and not isinstance(networks, str) else [networks]
    if not several or not all(isinstance(network, nn.Module) for network in several):
        given = ", ".join(type(network).__name__ for network in several) or "none"
        raise CallError(
            f"a teacher is a torch.nn.Module, or a list of them, not {given}; of a super-network it is an extracted "
            "network: net.extract(net.largest)"
        )
    with ExitStack() as stack:
        for network in several:
            stack.enter_context(placed(network, device))
            stack.enter_context(evaluating(network))
        yield lambda inputs, watched=(): answers_of(several, inputs, watched)


@torch.no_grad()
def answers_of(networks: Sequence[nn.Module], inputs: Inputs, watched: Sequence[str] = ()) -> Answer:
    """What networks give for inputs: the mean of their outputs, tensor by tensor where numbers are in them, and what
    the watched modules of the first give.

    Raises :class:`TrainingError` for networks whose outputs have other structures or shapes than the first's.
    """
    answers = [answer_of(network, inputs, watched) for network in networks]
    outputs = [answer.outputs for answer in answers]
    shapes = [[tuple(t.shape) for t in tensors_in(output)] for output in outputs]
    if other := [shape for shape in shapes if shape != shapes[0]]:
        raise TrainingError(f"the teachers' outputs differ in shape: {shapes[0]} and {other[0]}; give teachers alike")
    columns = iter(list(zip(*(tensors_in(output) for output in outputs), strict=True)))

    def mean(_: Tensor) -> Tensor:
        column = next(columns)
        return torch.stack(column).mean(0) if column[0].is_floating_point() and len(column) > 1 else column[0]

    return Answer(each_tensor(outputs[0], mean), answers[0].features).detached()
