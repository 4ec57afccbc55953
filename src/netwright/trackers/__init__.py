"""Trackers of experiments, one a file."""

from __future__ import annotations

from ..core.errors import RecipeError
from ..core.registry import Registry
from .base import Tracker

TRACKERS: Registry[Tracker] = Registry(
    "tracker",
    Tracker,
    __name__,
    {"tensorboard": "tensorboard:TensorBoard", "mlflow": "mlflow:MLflow"},
    error=RecipeError,
)
"""Every tracker by its name."""
