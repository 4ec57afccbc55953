"""What processes that train together add up before the weights move."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from zlib import crc32

import torch
from torch import Tensor, nn

from ..core.errors import TrainingError
from ..nets.inputs import is_dense
from .processes import Processes, ProcessLost
from .steps import State

HEAD = 3
"""Numbers before all others: who could not go on; what a rule remembers, as a number, and its square."""

MARKS = 100
"""How many marks tell one rule's memory from another's: small, so that sums of them over processes stay exact."""


class Exchange:
    """One sum over all processes for each step of the optimizer.

    In it are the gradients of all sub-networks that have learned since the last one, and the running statistics of
    normalisation layers, which become the mean of all processes'. A parameter without a gradient in any process has
    none afterwards; one with a gradient in some has it in all. What a rule remembers needs a second sum, if it
    remembers anything.

    Args:
        processes: of the training.
        module: that is trained.
        parameters: those that move.
    """

    def __init__(self, processes: Processes, module: nn.Module, parameters: Sequence[Tensor]) -> None:
        self.processes, self.parameters = processes, list(parameters)
        self.statistics = list(_statistics(module))
        device = parameters[0].device
        wide = any(t.dtype == torch.float64 for t in (*self.parameters, *self.statistics))
        lengths = [HEAD, len(self.parameters), *(t.numel() for t in (*self.parameters, *self.statistics))]
        self.buffer = torch.zeros(sum(lengths), dtype=torch.float64 if wide else torch.float32, device=device)
        self.head, self.learned, *slots = self.buffer.split(lengths)
        self.gradients, self.means = slots[: len(self.parameters)], slots[len(self.parameters) :]

    @torch.no_grad()
    def __call__(self, state: State) -> None:
        """Every process's gradients become the mean of all, weighted already by the examples that they are of.

        Args:
            state: what the rule remembers; floating-point numbers become their mean.

        Raises :class:`TrainingError` where another process could not go on or remembers something else, and
        :class:`ProcessLost` where one has ended.
        """
        mark = _mark(state)
        self.buffer.zero_()
        self.head[1], self.head[2] = mark, mark * mark
        for at, (parameter, slot) in enumerate(zip(self.parameters, self.gradients, strict=True)):
            if parameter.grad is not None:
                if not is_dense(parameter.grad):
                    raise TrainingError(
                        "gradients of several processes are added as dense tensors: make the embedding without "
                        "sparse=True, or train in one process"
                    )
                self.learned[at] = 1
                slot.view(parameter.shape).copy_(parameter.grad)
        for statistic, slot in zip(self.statistics, self.means, strict=True):
            slot.copy_(statistic.reshape(-1))
        self.processes.add(self.buffer)
        self._check(self.head.tolist())
        self._take()
        if state:
            self._average(state)

    def fail(self) -> None:
        """Tell the others, instead of the sum that they wait for, that this process cannot go on."""
        self.buffer.zero_()
        self.head[0] = 1
        try:
            self.processes.add(self.buffer)
        except ProcessLost:  # they have ended before: what this one raises is said all the same
            return

    def _check(self, head: list[float]) -> None:
        failed, marks, squares = head
        size = self.processes.size
        if failed:
            raise TrainingError(f"another of the {size} processes of this training could not go on, and says why")
        if marks * marks != size * squares:
            raise TrainingError(
                "the rule remembers tensors in one process that it does not in another: what it keeps in "
                "lesson.state must not depend on the examples that it sees; or train in one process"
            )

    def _take(self) -> None:
        """The sums in place of what this process had."""
        size = self.processes.size
        learned = self.learned.tolist()
        for parameter, slot, some in zip(self.parameters, self.gradients, learned, strict=True):
            if some:
                if parameter.grad is None:
                    parameter.grad = torch.empty_like(parameter)
                parameter.grad.copy_(slot.view(parameter.shape)).div_(size)
        for statistic, slot in zip(self.statistics, self.means, strict=True):
            statistic.copy_(slot.view(statistic.shape)).div_(size)

    def _average(self, state: State) -> None:
        floating = [state[name] for name in sorted(state) if state[name].is_floating_point()]
        if floating:
            held = torch.cat([value.reshape(-1).to(self.buffer) for value in floating])
            self.processes.add(held)
            for value, part in zip(floating, held.split([value.numel() for value in floating]), strict=True):
                value.copy_(part.view(value.shape)).div_(self.processes.size)


def _statistics(module: nn.Module) -> Iterator[Tensor]:
    """Running means and variances, of whatever layer names them so as those of PyTorch do."""
    for each in module.modules():
        for name in ("running_mean", "running_var"):
            found = each._buffers.get(name)
            if found is not None and found.is_floating_point():
                yield found


def _mark(state: State) -> int:
    """A small number that tells apart what names and shapes a rule remembers."""
    text = ";".join(f"{name} {tuple(state[name].shape)} {state[name].dtype}" for name in sorted(state))
    return crc32(text.encode()) % MARKS
