"""What a network is for: what a batch is, what is learned from it, and how well it is done; one task a file."""

from __future__ import annotations

from ..core.calls import tell_all
from ..core.errors import RecipeError
from ..core.registry import Registry
from .base import Evaluator, Task
from .classification import Classification
from .custom import Custom, Several
from .detection import Detection
from .grouped import MeanEvaluator
from .language_modelling import LanguageModelling
from .multilabel import MultiLabel
from .own_metrics import METRICS, OwnMetric
from .regression import Regression
from .segmentation import Segmentation
from .token_classification import TokenClassification
from .translation import Translation

__all__ = [
    "METRICS",
    "TASKS",
    "Classification",
    "Custom",
    "Detection",
    "Evaluator",
    "LanguageModelling",
    "MeanEvaluator",
    "MultiLabel",
    "OwnMetric",
    "Regression",
    "Segmentation",
    "Several",
    "Task",
    "TokenClassification",
    "Translation",
]

TASKS: Registry[Task] = Registry(
    "task",
    Task,
    __name__,
    {
        "classification": "classification:Classification",
        "text-classification": "classification:Classification",
        "image-classification": "classification:Classification",
        "multilabel": "multilabel:MultiLabel",
        "regression": "regression:Regression",
        "token-classification": "token_classification:TokenClassification",
        "segmentation": "segmentation:Segmentation",
        "language-modelling": "language_modelling:LanguageModelling",
        "detection": "detection:Detection",
        "translation": "translation:Translation",
        "custom": "custom:Custom",
    },
    error=RecipeError,
)
"""The tasks by the names that recipes use."""


def task_of(task: Task | str | None) -> Task:
    """A task, or the one that a text such as ``"regression,objective=mae"`` names; classification where it is None.

    Raises :class:`RecipeError` for anything else.
    """
    return TASKS.make("classification" if task is None else task)


tell_all(__name__)  # here, since whoever imports the package makes it nw.tasks
