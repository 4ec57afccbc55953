"""What is counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...core.errors import NetError

LARGEST = 2**63 - 1
"""Of what arrays of whole numbers hold."""


@dataclass(frozen=True)
class Counts:
    """What a candidate costs, by arithmetic alone, in the form in which it runs: folded (:func:`netwright.fold`), and
    with what training takes away gone.

    Args:
        params: elements of all parameters; tied parameters once.
        macs: multiply-accumulates of convolutions, matrix products and attention on the example inputs.
            Element-wise operators, normalisation and pooling are not counted, as is usual in the field. What a
            transform says that making a stored tensor takes is added.
        bit_ops: the multiply-accumulates, each times the bits of its weight and those of its input: 32 each, but in
            layers that have a precision of their own (:class:`netwright.Bits`).
        weight_bytes: bytes of all parameters in their own precision, or as a transform says that they are stored.
        peak_activation_bytes: the most bytes of inputs, intermediate results and outputs that live at once, when
            operators run in their own order, each result has memory of its own (views and in-place operators
            share), and memory is freed after its last use.
        moved_bytes: bytes that the operators read and write in all, weights included, when nothing is fused or kept
            in a cache: each operator reads all its arguments (of a table that it looks rows up in, as much as it
            finds) and writes all its results. Views move nothing, in-place operators what they read and write, and
            of an expanded tensor only what it is expanded from.
        uncounted: operators that compute products, or may, and are not in ``macs``.
    """

    params: int
    macs: int
    bit_ops: int
    weight_bytes: int
    peak_activation_bytes: int
    moved_bytes: int
    uncounted: tuple[str, ...] = ()


@dataclass(frozen=True)
class ManyCounts:
    """The counts of n candidates: int64 of shape (n,) each; what they mean, :class:`Counts` says.

    Indexed by a whole number, the counts of that candidate.
    """

    params: np.ndarray
    macs: np.ndarray
    bit_ops: np.ndarray
    weight_bytes: np.ndarray
    peak_activation_bytes: np.ndarray
    moved_bytes: np.ndarray
    uncounted: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, each: Sequence[Counts]) -> ManyCounts:
        """Of those of single candidates."""
        arrays = {name: np.array([getattr(one, name) for one in each], dtype=np.int64) for name in NAMES}
        return cls(**arrays, uncounted=tuple(one.uncounted for one in each))

    def __len__(self) -> int:
        return len(self.params)

    def __getitem__(self, at: int) -> Counts:
        numbers = {name: int(getattr(self, name)[at]) for name in NAMES}
        return Counts(**numbers, uncounted=self.uncounted[at])


NAMES = ("params", "macs", "bit_ops", "weight_bytes", "peak_activation_bytes", "moved_bytes")


def check_bound(most: int) -> None:
    """Raise :class:`NetError` for counts that whole numbers of 64 bits may not hold."""
    if most > LARGEST:
        raise NetError(
            f"the counts of this network on its example inputs may be as large as {most:.1e}, and go up to 2^63 - 1 "
            "(9.2e18); give smaller example inputs"
        )
