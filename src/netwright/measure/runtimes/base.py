"""What a runtime is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from ..base import Subject
from ..protocol import Run


class Runtime(ABC):
    """A runtime with its settings: together with the machine, a target.

    Args:
        threads: that one inference may use.
        batch: how many inputs are run at once.
    """

    name: str
    kind: str
    """Of the file that it reads, such as ``onnx``."""

    threads: int = 1
    batch: int = 1

    @abstractmethod
    def file(self, subject: Subject) -> Path:
        """The network in the runtime's own format."""

    @abstractmethod
    def load(self, path: Path, inputs: Any) -> Run:
        """A function that runs the file once on ``inputs`` (of one example), repeated to the batch size."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Runtime, version, device, threads, batch, precision: JSON values."""
