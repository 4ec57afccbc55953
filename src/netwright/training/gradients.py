"""Gradients that wait beside those that are being added."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import Tensor


@contextmanager
def set_aside(parameters: Iterable[Tensor]) -> Iterator[None]:
    """Gradients begin anew while the block lasts; then those from before are added to what there is."""
    held = [(p, p.grad) for p in parameters]
    for p, _ in held:
        p.grad = None
    try:
        yield
    finally:
        for p, before in held:
            if before is not None:
                p.grad = before if p.grad is None else before + p.grad
