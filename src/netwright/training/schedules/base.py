"""What a schedule is: the learning rate over the steps of a training."""

from __future__ import annotations

from abc import ABC, abstractmethod

from ...core.errors import RecipeError


class Schedule(ABC):
    """The learning rate of each step, relative to the optimizer's."""

    @abstractmethod
    def share(self, step: int, steps: int) -> float:
        """What the optimizer's learning rates are multiplied by.

        Args:
            step: from 0.
            steps: of the whole training.
        """


def warming(step: int, steps: int, warmup: float) -> tuple[float, float]:
    """How far a warm-up has got, and the rest of the training after it; both rise from 0 to 1.

    Args:
        step, steps: see :meth:`Schedule.share`.
        warmup: its share of all steps; it is at least one step, unless 0.
    """
    warm = max(1, int(steps * warmup + 1e-9)) if warmup else 0
    if step < warm:
        return (step + 1) / warm, 0.0
    return 1.0, (step - warm) / max(1, steps - warm)


def require_share(name: str, value: float) -> None:
    """Raise :class:`RecipeError` for a share that is not from 0 to below 1."""
    if not 0 <= value < 1:
        raise RecipeError(f"{name} is a share of all steps, from 0 to below 1, not {value:g}")
