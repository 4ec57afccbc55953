"""The processes that train one network together, and what they tell one another."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ..core.errors import TrainingError, format_error
from ..core.launch import launched, unlaunched
from ..nets.inputs import is_dense, put

TIMEOUT = timedelta(minutes=30)
"""How long processes wait for one another. The first evaluates and writes while the others wait; one that has ended is
noticed at once, so that this is only for one that hangs."""

_alone: ContextVar[bool] = ContextVar("alone", default=False)
_ours = False
"""Whether the group of processes was made here, and not by a person's own script."""


class ProcessLost(TrainingError):
    """Another process has ended, or no longer answers."""


@dataclass(frozen=True)
class Processes:
    """The processes of a training.

    Args:
        rank: the number of this one, from 0.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that evaluates, tells and writes."""
        return self.rank == 0

    def add(self, values: Tensor) -> None:
        """Replace values by their sum over all processes, which give as many each."""
        self._told(lambda: dist.all_reduce(values))

    def agree(self, value: int, device: torch.device) -> int:
        """The first process's value."""
        held = torch.tensor([value], dtype=torch.int64, device=device)
        if self.size > 1:
            self._told(lambda: dist.broadcast(held, 0))
        return int(held)

    @torch.no_grad()
    def copy(self, tensors: Iterable[Tensor], device: torch.device) -> None:
        """Put the first process's tensors, of whatever types, into those of all others. Sparse ones are left alone."""
        dense = [tensor.detach() for tensor in tensors if is_dense(tensor) and tensor.numel()]
        if self.size == 1 or not dense:
            return
        parts = [tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in dense]
        held = torch.cat([part.to(device) for part in parts])
        self._told(lambda: dist.broadcast(held, 0))
        if not self.first:
            for tensor, part in zip(dense, held.split([len(part) for part in parts]), strict=True):
                put(tensor, part.clone().view(tensor.dtype).reshape(tensor.shape))

    def _told(self, tell: Callable[[], Any]) -> None:
        try:
            tell()
        except RuntimeError as error:  # what all backends raise
            raise ProcessLost(
                f"another of the {self.size} processes of this training has ended, or did not answer in time "
                f"({format_error(error):.200}); it says why itself, if it can"
            ) from None


def together() -> Processes:
    """This process, beside the others that ``torchrun`` started or that a script has joined with it; by itself where
    there are none. The first call waits for the others.

    Raises :class:`ProcessLost` where they do not come.
    """
    global _ours
    if _alone.get() or not dist.is_available():
        return Processes()
    if not dist.is_initialized():
        rank, size = launched()
        if size == 1:
            return Processes()
        cuda = torch.cuda.is_available() and dist.is_nccl_available()
        if cuda:
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", rank)) % torch.cuda.device_count())
        start = Processes(rank, size)
        start._told(lambda: dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=TIMEOUT))
        _ours = True
    return Processes(dist.get_rank(), dist.get_world_size())


@contextmanager
def alone() -> Iterator[None]:
    """This process goes on by itself: what it trains while the block lasts, it trains alone, and so do processes that
    it starts. The group is left, where it was made here."""
    global _ours
    if _ours and dist.is_initialized():
        dist.destroy_process_group()
        _ours = False
    token = _alone.set(True)
    try:
        with unlaunched():
            yield
    finally:
        _alone.reset(token)
