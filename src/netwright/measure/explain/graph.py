"""What is explained of a file, whatever its format."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Self

from ...formats.onnx_layers import Layer


class Graph(ABC):
    """A file that is explained, read where the explanation is made."""

    path: Path
    """Of the file that is run; it may be another than the one that was given, in which every operator has a name."""

    @property
    @abstractmethod
    def layers(self) -> Sequence[Layer]:
        """The layers, in order. Raises :class:`MeasureError` where there are none."""

    @property
    @abstractmethod
    def own(self) -> Collection[str]:
        """The names of its operators."""

    @property
    @abstractmethod
    def inputs(self) -> Sequence[str]:
        """The names of what it is fed with."""

    @abstractmethod
    def twin(self, folder: Path) -> Self:
        """The float32 network in it, as a file of that folder. Raises :class:`MeasureError` where there is none."""

    @property
    def places(self) -> dict[str, str]:
        """The path of the layer that each operator and each result belongs to, by name."""
        return {name: layer.path for layer in self.layers for name in (*layer.nodes, *layer.results)}

    @property
    def is_quantised(self) -> bool:
        """Whether some of its layers have weights of few bits."""
        return any(layer.bits < 16 for layer in self.layers)
