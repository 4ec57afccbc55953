"""What a tracker is: something that keeps the figures of a job as it goes on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path


class Tracker(ABC):
    """Keeps figures by name and step."""

    @abstractmethod
    def start(self, folder: Path, name: str, settings: Mapping[str, str]) -> None:
        """A job begins, or goes on.

        Args:
            folder: its output directory.
            name: what the person called the recipe.
            settings: the recipe's keys, dotted, as texts.
        """

    @abstractmethod
    def log(self, values: Mapping[str, float], step: int) -> None:
        """Keep some figures, such as ``train/loss``, of a step."""

    @abstractmethod
    def finish(self) -> None:
        """The job ends, well or not: all must be written."""
