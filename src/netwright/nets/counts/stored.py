"""How tensors are stored in many candidates, where a transform or the given network says so."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np

from ...core.candidate import Option
from ..cut import CutBuilder
from ..foldable import is_folded
from ..transforms import Stored, says_how_it_is_stored
from .effects import Cuttable


@dataclass(frozen=True)
class StoredMany:
    """How one tensor is stored in n candidates.

    Args:
        said: in which of them something says so, bool of shape (n,).
        bytes: see :attr:`netwright.nets.transforms.Stored.bytes`; int64 of shape (n,).
        macs: see :class:`netwright.nets.transforms.Stored`; int64 of shape (n,).
    """

    said: np.ndarray
    bytes: np.ndarray
    macs: np.ndarray


class StoredTensors:
    """Finds how tensors are stored: each from the axes that change it alone. What is folded is not stored as it was.

    Args:
        net: the super-network.
    """

    def __init__(self, net: Cuttable) -> None:
        self._net = net
        made = {name for name, some in net.writes.transforms.items() if any(map(says_how_it_is_stored, some))}
        self.names = sorted(name for name in {*net.index.stored, *made} if not is_folded(name, net.tracer.folds))
        self._axes = self._changing() if self.names else {}
        self._of = lru_cache(maxsize=65536)(self._stored)

    def _changing(self) -> dict[str, tuple[int, ...]]:
        """Of every tensor the places of the choices that change it."""
        net, place = self._net, {choice.name: i for i, choice in enumerate(self._net.space)}
        found: dict[str, set[int]] = {name: set() for name in self.names}
        for axis in net.axes:
            read = [net.space[name].options for name in axis.depends_on]
            changed: set[str] = set()
            for given in product(axis.options, *read):
                builder = CutBuilder()
                axis.write(given if read else given[0], builder, net.index)
                changed |= {tensor for tensor, *_ in builder.dropped()} | {tensor for tensor, *_ in builder.written()}
            for name in found.keys() & changed:
                found[name] |= {place[axis.name], *(place[other] for other in axis.depends_on)}
        return {name: tuple(sorted(places)) for name, places in found.items()}

    def __call__(self, rows: np.ndarray) -> dict[str, StoredMany]:
        """How they are stored in the candidates of these rows, whether or not their owners run."""
        return {name: self._many(name, rows) for name in self.names}

    def _many(self, name: str, rows: np.ndarray) -> StoredMany:
        combinations, which = np.unique(rows[:, self._axes[name]], axis=0, return_inverse=True)
        choices = [self._net.space.choices[at] for at in self._axes[name]]
        options = [
            tuple((c.name, c.options[i]) for c, i in zip(choices, row, strict=True) if i >= 0)
            for row in combinations.tolist()
        ]
        found = [self._of(some).get(name) for some in options]
        said = np.array([held is not None for held in found])
        sizes = np.array([(held.bytes, held.macs) if held else (0, 0) for held in found], dtype=np.int64).T
        at = which.reshape(-1)  # of which NumPy 2.0 has another shape
        return StoredMany(said[at], sizes[0, at], sizes[1, at])

    def _stored(self, options: tuple[tuple[str, Option], ...]) -> dict[str, Stored]:
        return self._net.cut_of(dict(options)).stored(self._net.index)
