"""Group convolution with a constant group size: E2GC (Jha et al. 2020, arXiv 2006.15100)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from ..units import check_positive, check_windows
from .parts import check_divides, conv_norm


class GroupedConv(nn.Module):
    """E2GC: a 3x3 convolution in groups of a constant size, then one of 1x1 (arXiv 2006.15100).

    Of size 1 it is MobileNetV1's block. Larger groups compute more and reuse what they have read more often. Which size
    takes the least energy is the question of the paper: a menu of sizes with :class:`netwright.EnergyEstimate`, or a
    meter, as an objective answers it for a device. The input is added where the shapes allow.

    Args:
        inputs, outputs, stride: see :mod:`netwright.nets.blocks`.
        group_size: channels of a group; it must divide ``inputs``.
        kernel: the window of the grouped convolution.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1, group_size: int = 8, kernel: int = 3) -> None:
        super().__init__()
        check_positive(inputs=inputs, outputs=outputs, stride=stride)
        check_windows(kernel=kernel)
        check_divides("group_size", group_size, inputs)
        self.filter = conv_norm(inputs, inputs, kernel, stride, groups=inputs // group_size)
        self.mix = conv_norm(inputs, outputs)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.mix(F.relu(self.filter(x))))
        return x + y if self.residual else y
