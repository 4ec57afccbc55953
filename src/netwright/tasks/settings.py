"""What the settings of tasks may be, so that a wrong one is told where it is given."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import isfinite
from typing import Any

from ..core.errors import RecipeError, did_you_mean
from ..core.registry import find_object
from ..nets.inputs import describe


def require_settings(task: Any) -> None:
    """Raise :class:`RecipeError` for a temperature, a smoothing or weights that a task cannot use; weights become a
    tuple of numbers."""
    kind = type(task).__name__
    for name, what, fits in (
        ("temperature", "a number above 0", lambda value: value > 0),
        ("label_smoothing", "a share from 0 to 1", lambda value: 0 <= value <= 1),
        ("bytes_per_token", "a number of bytes, or 0 where it is not known", lambda value: value >= 0),
    ):
        value = getattr(task, name, 1)
        if not _is_number(value) or not fits(value):
            raise RecipeError(f"{kind}: {name} is {what}, not {value!r}")
    for name in ("class_weights", "positive_weights"):
        given = getattr(task, name, ())
        weights = tuple(given.tolist() if hasattr(given, "tolist") else given) if isinstance(given, Iterable) else None
        if weights is None or not all(_is_number(weight) and weight >= 0 for weight in weights):
            raise RecipeError(f"{kind}: {name} is a tuple of numbers, 0 or more, one for each, not {given!r}")
        if hasattr(task, name):
            object.__setattr__(task, name, weights)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def require_known(kind: str, name: str, value: Any, known: Iterable[str]) -> None:
    """Raise :class:`RecipeError` for a setting that is none of those that there are."""
    if value not in (several := list(known)):
        raise RecipeError(f"{kind}: {name} cannot be {value!r}; {did_you_mean(str(value), several)}")


def find_functions(task: Any, *names: str, optional: tuple[str, ...] = ()) -> None:
    """Put the functions that ``module:function`` names in place of these texts.

    Raises :class:`RecipeError` for what is no function; the optional ones may be None.
    """
    for name in (*names, *optional):
        given: Callable[..., Any] | str | None = getattr(task, name)
        if isinstance(given, str):
            object.__setattr__(task, name, find_object(given, f"task: {name}", RecipeError))
        elif not callable(given) and not (given is None and name in optional):
            raise RecipeError(f"task: {name} must be a function or module:function, not {describe(given)}")
