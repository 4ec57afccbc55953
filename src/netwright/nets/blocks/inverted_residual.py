"""The inverted residual of MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381)."""

from __future__ import annotations

from ..families.inverted_residual import InvertedResidual as Unit
from ..units import check_positive, check_windows, hidden_channels


class InvertedResidual(Unit):
    """MobileNetV2: expand with a 1x1 convolution, filter each channel, project back (arXiv 1801.04381).

    The input is added where the shapes allow.

    Args:
        inputs, outputs, stride: see :mod:`netwright.nets.blocks`.
        expansion: hidden channels, as a multiple of ``inputs``.
        kernel: the window of the depthwise convolution.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1, expansion: float = 4, kernel: int = 3) -> None:
        check_positive(inputs=inputs, outputs=outputs, stride=stride)
        check_windows(kernel=kernel)
        super().__init__(inputs, outputs, hidden_channels(inputs, expansion), kernel, stride)
