"""The star block of StarNet (Ma et al. 2024, "Rewrite the stars", arXiv 2403.19967)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from ..units import check_windows, hidden_channels
from .parts import conv_norm, transition


class Star(nn.Module):
    """StarNet: the product of two 1x1 convolutions, between depthwise ones; the input is added (arXiv 2403.19967).

    Each such product squares the implicit dimensions of the features, which is why it does
    with few channels.

    Args:
        inputs, outputs, stride: see :mod:`netwright.nets.blocks`; a change of either is a convolution before.
        expansion: channels of the two factors, as a multiple of ``outputs``.
        kernel: the window of the depthwise convolutions.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1, expansion: float = 4, kernel: int = 7) -> None:
        super().__init__()
        check_windows(kernel=kernel)
        self.enter = transition(inputs, outputs, stride)
        hidden = hidden_channels(outputs, expansion)
        self.before = conv_norm(outputs, outputs, kernel, groups=outputs)
        self.gate = nn.Conv2d(outputs, hidden, 1)
        self.value = nn.Conv2d(outputs, hidden, 1)
        self.project = conv_norm(hidden, outputs)
        self.after = nn.Conv2d(outputs, outputs, kernel, padding=kernel // 2, groups=outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        y = self.before(x)
        y = self.project(F.relu6(self.gate(y)) * self.value(y))
        return x + self.after(y)
