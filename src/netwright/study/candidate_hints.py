"""Hints: cheap figures of candidates, found by functions of a person's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np

from ..core.arguments import as_number, shown
from ..core.candidate import Candidate
from ..core.errors import CallError, MeasureError, format_error


class Hints:
    """Functions of a candidate, each asked once for each.

    Args:
        functions: by name; each gives a number, always the same for the same candidate.
    """

    def __init__(self, functions: Mapping[str, Callable[[Candidate], float]]) -> None:
        named = isinstance(functions, Mapping) and all(isinstance(name, str) for name in functions)
        if not named or not all(map(callable, functions.values())):
            raise CallError(
                "hints= takes functions of a candidate by name, such as {'synflow': lambda candidate: ...}, not "
                f"{shown(functions)}"
            )
        self._functions = dict(functions)
        self._known: dict[Candidate, tuple[float, ...]] = {}

    def __call__(self, candidates: Sequence[Candidate]) -> dict[str, np.ndarray]:
        found = [self._of(candidate) for candidate in candidates]
        columns = np.array(found, dtype=np.float64).reshape(len(found), len(self._functions)).T
        return dict(zip(self._functions, columns, strict=True))

    def _of(self, candidate: Candidate) -> tuple[float, ...]:
        if candidate not in self._known:
            self._known[candidate] = tuple(_asked(*each, candidate) for each in self._functions.items())
        return self._known[candidate]


def _asked(name: str, function: Callable[[Candidate], Any], candidate: Candidate) -> float:
    try:
        value = function(candidate)
    except Exception as error:  # a person's own function
        raise MeasureError(f"the hint {name!r} raised {format_error(error)} for {dict(candidate)}") from error
    try:
        number = as_number(value)
    except ValueError as error:
        raise MeasureError(f"the hint {name!r} {error}, as for {dict(candidate)}") from None
    if not isfinite(number):
        raise MeasureError(f"the hint {name!r} must be a finite number, not {number}, as for {dict(candidate)}")
    return number
