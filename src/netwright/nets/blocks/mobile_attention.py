"""Mobile multi-query attention of MobileNetV4 (Qin et al. 2024, arXiv 2404.10518)."""

from __future__ import annotations

from torch import Tensor, nn

from ..units import check_positive
from .parts import as_images, check_divides, conv_norm, in_heads, transition


class MobileAttention(nn.Module):
    """MobileNetV4: attention whose heads share keys and values, taken at every other position (arXiv 2404.10518).

    Sharing saves the memory traffic that attention is slow by on mobile accelerators; the depthwise convolution of
    stride 2 before keys and values quarters the scores. The input is added.

    Args:
        inputs, outputs, stride: see :mod:`netwright.nets.blocks`; a change of either is a convolution before.
        head_dim: channels of a head; it must divide ``outputs``.
        reduction: the stride between positions that keys and values are taken at.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1, head_dim: int = 8, reduction: int = 2) -> None:
        super().__init__()
        check_divides("head_dim", head_dim, outputs)
        check_positive(reduction=reduction)
        self.head_dim = head_dim
        self.enter = transition(inputs, outputs, stride)
        self.norm = nn.BatchNorm2d(outputs)
        self.queries = nn.Conv2d(outputs, outputs, 1, bias=False)
        self.reduce = conv_norm(outputs, outputs, 3, reduction, groups=outputs)
        self.keys = nn.Conv2d(outputs, head_dim, 1, bias=False)
        self.values = nn.Conv2d(outputs, head_dim, 1, bias=False)
        self.project = conv_norm(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        y = self.norm(x)
        queries = in_heads(self.queries(y), self.head_dim)  # (n, heads, head_dim, positions)
        fewer = self.reduce(y)
        keys, values = (part(fewer).flatten(2)[:, None] for part in (self.keys, self.values))
        weights = (keys.transpose(2, 3) @ queries * self.head_dim**-0.5).softmax(2)
        return x + self.project(as_images(values @ weights, x))
