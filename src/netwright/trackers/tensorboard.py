"""TensorBoard: event files in the output directory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.errors import MissingExtra
from ..core.text import printable
from .base import Tracker


class TensorBoard(Tracker):
    """Event files below ``OUT/tensorboard``, for ``tensorboard --logdir OUT/tensorboard``."""

    _writer: Any = None

    def start(self, folder: Path, name: str, settings: Mapping[str, str]) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise MissingExtra("tensorboard", "tensorboard", "track: tensorboard") from None
        self._writer = SummaryWriter(str(folder / "tensorboard"))
        lines = (printable(f"{key}: {value}") for key, value in settings.items())
        self._writer.add_text("recipe", "\n".join(f"    {line}" for line in lines))

    def log(self, values: Mapping[str, float], step: int) -> None:
        for key, value in values.items():
            self._writer.add_scalar(key, value, step)

    def finish(self) -> None:
        self._writer.close()
