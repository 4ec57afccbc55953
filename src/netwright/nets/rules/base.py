"""What a rule is, and the table of all."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ..trace import Op

if TYPE_CHECKING:
    from ..ties import Ties

Rows = list[np.ndarray]
"""One array of labels per dimension."""

Rule = Callable[["Ties", Op], Rows | None]
"""Gives the labels of an operator's first result, or None where it cannot tell."""

RULES: dict[str, Rule] = {}
"""By the operator's name in ATen, without the mark of the in-place variant."""

FIXES = "which fixes their number"
MIXES = "which mixes them"
PLACES = "which treats each by its place"

REASONS: dict[str, str] = {}
"""Why what such an operator makes rigid is so, by its name: one of the above."""


def plain(op: Op) -> str:
    """An operator's name without the mark of the in-place variant."""
    return op.name if op.name.startswith("__") else op.name.removesuffix("_")


def rule(*names: str, because: str = FIXES) -> Callable[[Rule], Rule]:
    """Make a function the rule of some operators.

    Args:
        names: of the operators.
        because: why what the rule makes rigid is so.
    """

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        REASONS.update(dict.fromkeys(names, because))
        return function

    return register
