"""What a network is for: what a batch is, what is learned from it, and how well it is done; one task a file."""

from __future__ import annotations

from ..core.errors import RecipeError
from ..core.registry import Registry
from .base import Evaluator, Task
from .classification import Classification

__all__ = ["TASKS", "Classification", "Evaluator", "Task"]

TASKS: Registry[Task] = Registry(
    "task", Task, __name__, {"classification": "classification:Classification"}, error=RecipeError
)
"""The tasks by the names that recipes use."""
