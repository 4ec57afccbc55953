"""Schedules of the learning rate, one a file."""

from __future__ import annotations

from ...core.errors import RecipeError
from ...core.registry import Registry
from .base import Schedule

SCHEDULES: Registry[Schedule] = Registry(
    "schedule",
    Schedule,
    __name__,
    {"cosine": "cosine:Cosine", "linear": "linear:Linear", "constant": "constant:Constant",
     "one_cycle": "one_cycle:OneCycle"},
    error=RecipeError,
)  # fmt: skip
"""Every schedule by its name."""
