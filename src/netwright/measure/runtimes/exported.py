"""What the runtimes that read an exported program share: a network with plain inputs and outputs, and its program."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

from ...core.errors import MeasureError, format_error


def positional(network: Any, inputs: Any) -> tuple[Any, tuple[Any, ...]]:
    """A network that takes the tensors of its inputs by position and returns a tuple of tensors, and those tensors.

    Runtimes know neither names nor nested inputs, and each puts them into an order of its own.
    """
    from torch import nn

    from ...nets.inputs import call, each_tensor, tensors_in

    class Positional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, *tensors: Any) -> Any:
            given = iter(tensors)
            return tuple(tensors_in(call(self.network, each_tensor(inputs, lambda _: next(given)))))

    return Positional().eval(), tuple(tensors_in(inputs))


def export(network: Any, tensors: tuple[Any, ...]) -> Any:
    """``torch.export``'s program of a network for exactly these shapes.

    Raises :class:`MeasureError` with the reason.
    """
    import torch

    try:
        return torch.export.export(network, tensors)
    except Exception as error:  # torch.export raises many types
        raise MeasureError(f"torch.export cannot take this network: {format_error(error)[:500]}") from error


@contextlib.contextmanager
def said_by_library() -> Iterator[Callable[[], str]]:
    """What a compiled library writes to this process's standard error while the block lasts, and hides there."""
    before = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)

        def said() -> str:
            held.seek(0)
            return held.read().decode(errors="replace")

        try:
            yield said
        finally:
            os.dup2(before, 2)
            os.close(before)
