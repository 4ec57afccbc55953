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


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Make a function the rule of some operators."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register
