"""Whether outputs are those of PyTorch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from ..core.errors import BundleError
from ..nets.inputs import entries

TOLERANCE = 1e-4
"""How far an exported file's outputs may be from PyTorch's, relative to the largest of them."""


def arrays_of(tensors: Iterable[Tensor]) -> list[np.ndarray]:
    """Tensors as arrays; bfloat16, which NumPy does not have, as float32."""
    dense = [entries(t) for t in tensors]
    return [(t.float() if t.dtype == torch.bfloat16 else t).numpy(force=True) for t in dense]


def difference(got: Sequence[np.ndarray], wanted: Sequence[np.ndarray]) -> float:
    """The largest difference of any output, relative to its largest value; of truth values and whole numbers the share
    that differs. Infinite where one has a number and the other has none.

    Raises :class:`BundleError` where there are other outputs, or they have other shapes.
    """
    if len(got) != len(wanted):
        raise BundleError(f"it gives {len(got)} outputs, PyTorch {len(wanted)}")
    worst = 0.0
    for i, (one, other) in enumerate(zip(got, wanted, strict=True)):
        if one.shape != other.shape:
            raise BundleError(f"it computes an output {i} of shape {one.shape}, PyTorch one of {other.shape}")
        if one.size:
            worst = max(worst, _difference(one, other))
    return worst


def _difference(got: np.ndarray, wanted: np.ndarray) -> float:
    if wanted.dtype.kind not in "fc":
        return float(np.mean(got != wanted))
    finite = np.isfinite(wanted)
    if np.isnan(wanted).any() or not np.array_equal(got[~finite], wanted[~finite]):
        return float("inf")
    off, largest = np.abs(got[finite] - wanted[finite]), np.abs(wanted[finite])
    worst = float(off.max(initial=0.0) / max(float(largest.max(initial=0.0)), 1e-12))
    return worst if worst == worst else float("inf")
