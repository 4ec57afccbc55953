"""What a propagator is, and the table of all."""

from __future__ import annotations

from collections.abc import Callable

from ..trace import Op
from .labels import Rows, TensorLabels

Propagator = Callable[[TensorLabels, Op], Rows | None]
"""Gives the labels of an operator's first result, or None where it cannot tell."""

PROPAGATORS: dict[str, Propagator] = {}
"""By the operator's name in ATen, without the mark of the in-place variant."""

FIXES = "which fixes their number"
MIXES = "which mixes them"
PLACES = "which treats each by its place"

REASONS: dict[str, str] = {}
"""Why what such an operator makes rigid is so, by its name: one of the above."""


def plain(op: Op) -> str:
    """An operator's name without the mark of the in-place variant."""
    return op.name if op.name.startswith("__") else op.name.removesuffix("_")


def propagates(*names: str, because: str = FIXES) -> Callable[[Propagator], Propagator]:
    """Make a function the propagator of some operators.

    Args:
        names: the names of the operators.
        because: why what the propagator makes rigid is so.
    """

    def register(function: Propagator) -> Propagator:
        PROPAGATORS.update(dict.fromkeys(names, function))
        REASONS.update(dict.fromkeys(names, because))
        return function

    return register
