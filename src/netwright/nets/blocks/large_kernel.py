"""Large depthwise windows, trained with dilated small ones beside them that are merged into them.

UniRepLKNet (Ding et al. 2023, arXiv 2311.15599, section 3.1, "dilated reparam block"): a depthwise window with holes is
a larger one with zeros, so that all of them are one large window.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from ...core.errors import NetError
from ..units import check_positive, hidden_channels
from .merging import merged
from .parts import conv_norm

BESIDE = {
    5: ((3, 1), (3, 2)),
    7: ((5, 1), (3, 2), (3, 3)),
    9: ((5, 1), (5, 2), (3, 3), (3, 4)),
    11: ((5, 1), (5, 2), (3, 3), (3, 4), (3, 5)),
    13: ((5, 1), (7, 2), (3, 3), (3, 4), (3, 5)),
    15: ((5, 1), (7, 2), (3, 3), (3, 5), (3, 7)),
    17: ((5, 1), (9, 2), (3, 4), (3, 5), (3, 7)),
}
"""For each large window the small ones beside it, and their dilation."""


class LargeKernel(nn.Module):
    """A large depthwise window, small ones with holes beside it, and an inverted bottleneck of 1x1 convolutions.

    The input is added where the shapes allow.

    Args:
        inputs, outputs, stride: see :mod:`netwright.nets.blocks`.
        kernel: the window: 5, 7, ... to 17.
        expansion: hidden channels of the bottleneck, as a multiple of ``inputs``.

    Raises :class:`NetError` for a window that there is not.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1, kernel: int = 13, expansion: float = 2) -> None:
        super().__init__()
        check_positive(inputs=inputs, outputs=outputs, stride=stride)
        if kernel not in BESIDE:
            raise NetError(f"the window of large_kernel is one of {', '.join(map(str, BESIDE))}, not {kernel!r}")
        self.window = Windows(inputs, stride, kernel)
        hidden = hidden_channels(inputs, expansion)
        self.expand, self.project = conv_norm(inputs, hidden), conv_norm(hidden, outputs)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(F.relu(self.expand(self.window(x))))
        return x + y if self.residual else y


class Windows(nn.Module):
    """The depthwise windows of one block, each normalised, and their sum.

    Args:
        channels: of the images.
        stride: of all windows.
        kernel: the largest window.
    """

    def __init__(self, channels: int, stride: int, kernel: int) -> None:
        super().__init__()
        self.large = conv_norm(channels, channels, kernel, stride, groups=channels)
        self.small = nn.ModuleList(
            conv_norm(channels, channels, window, stride, groups=channels, dilation=dilation)
            for window, dilation in BESIDE[kernel]
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.large(x)
        for small in self.small:
            y = y + small(x)
        return y

    def folded(self) -> nn.Module:
        """One depthwise convolution."""
        return merged([self.large, *self.small])
