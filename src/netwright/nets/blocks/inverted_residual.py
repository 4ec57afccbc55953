"""The inverted residual of MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381)."""

from __future__ import annotations

from ..families.inverted_residual import InvertedResidual as Unit
from ..units import check_positive


class InvertedResidual(Unit):
    """MobileNetV2: expand with a 1x1 convolution, filter each channel, project back (arXiv 1801.04381).

    The input is added where the shapes allow.

    Args:
        inputs, outputs, stride: see :mod:`netwright.nets.blocks`.
        expansion: hidden channels, as a multiple of ``inputs``.
        kernel: the window of the depthwise convolution.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1, expansion: float = 4, kernel: int = 3) -> None:
        check_positive(inputs=inputs, outputs=outputs, stride=stride, expansion=expansion, kernel=kernel)
        super().__init__(inputs, outputs, round(inputs * expansion), kernel, stride)
