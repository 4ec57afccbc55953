"""How far a file's outputs may be from PyTorch's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..core.errors import MeasureError

TOLERANCE = {"float32": 1e-3, "float16": 2e-2, "bfloat16": 1e-1, "int8": 0.3}
"""Root of the mean square, relative to that of PyTorch's outputs. In 8 bits it holds on real inputs, with the ranges of
real inputs: files of trained networks (ResNets, MobileNets, MCUNet) have 0.03 to 0.2 there, those with the ranges of
noise 0.32 to 0.95."""

UNCALIBRATED = 0.5
"""The same in 8 bits where ranges and inputs are noise: enough to notice another network, and no more."""


def allowed(precision: str, real: bool) -> float:
    """The tolerance of a precision.

    Args:
        precision: the precision of a runtime.
        real: whether the inputs, and those that ranges were taken from, are real ones.
    """
    return UNCALIBRATED if precision == "int8" and not real else TOLERANCE.get(precision, 0.1)


def differences(got: Sequence[np.ndarray], wanted: Sequence[np.ndarray], who: str) -> float:
    """The largest over the outputs. Raises :class:`MeasureError` where they are fewer, or of other shapes."""
    if len(wanted) > len(got):
        raise MeasureError(f"{who} gives {len(got)} outputs, PyTorch {len(wanted)}")
    worst = 0.0
    for mine, theirs in zip(got, wanted, strict=False):
        if mine.shape != theirs.shape:
            raise MeasureError(f"{who} gives an output of shape {mine.shape}, PyTorch one of {theirs.shape}")
        if theirs.size:
            one, other = mine.astype(np.float64), theirs.astype(np.float64)
            scale = max(float(np.sqrt(np.mean(other**2))), 1e-12)
            worst = max(worst, float(np.sqrt(np.mean((one - other) ** 2))) / scale)
    return worst


def check(worst: float, precision: str, who: str, real: bool) -> None:
    """Raise :class:`MeasureError` where a file computes something else than the network."""
    most = allowed(precision, real)
    if not worst <= most:
        where = "real inputs" if real else "noise"
        raise MeasureError(
            f"{who} computes something else than PyTorch: its outputs differ by {worst:.2g} of their size, "
            f"allowed for {precision} on {where} are {most}"
        )
