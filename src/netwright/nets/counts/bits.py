"""How many bits the products of layers take in many candidates."""

from __future__ import annotations

import numpy as np

from ..cut import CutBuilder
from ..precisions.base import FLOAT_BITS
from ..precisions.registry import precision_of
from ..rounding import Rounded, roundings
from .effects import Cuttable

WHOLE = FLOAT_BITS * FLOAT_BITS
"""The bits of a weight times those of an input, where nothing is rounded."""


class LayerBits:
    """Finds, for each layer whose precision is a choice, the bits of a weight times those of an input.

    Args:
        net: the super-network.
    """

    def __init__(self, net: Cuttable) -> None:
        self._own = {path: _product(own.precision) for path, own in roundings(net.index.root).items()}
        self._tables: dict[str, tuple[int, np.ndarray]] = {}
        place = {choice.name: i for i, choice in enumerate(net.space)}
        for axis in net.axes if self._own else ():
            for i, option in enumerate(() if axis.depends_on else axis.options):
                builder = CutBuilder()
                axis.write(option, builder, net.index)
                for tensor, _, transform in builder.written():
                    if isinstance(transform, Rounded):
                        for path in net.index.owners[tensor]:
                            whole = np.full(len(axis.options), self._own.get(path, WHOLE), dtype=np.int64)
                            _, table = self._tables.setdefault(path, (place[axis.name], whole))
                            table[i] = _product(transform.precision)

    @property
    def layers(self) -> frozenset[str]:
        """The paths of the layers."""
        return frozenset(self._own)

    def __call__(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """For each layer those of the candidates of these rows, int64 of shape (candidates,)."""
        found = {path: np.full(len(rows), bits, dtype=np.int64) for path, bits in self._own.items()}
        return found | {path: table[rows[:, place]] for path, (place, table) in self._tables.items()}


def _product(text: str) -> int:
    precision = precision_of(text)
    return precision.weights * precision.activations
