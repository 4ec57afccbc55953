"""Simplified linear attention of SLAB (Guo et al. 2024, arXiv 2405.11582)."""

from __future__ import annotations

from torch import Tensor, nn

from ..units import check_windows
from .parts import as_images, check_divides, conv_norm, in_heads, linear_attention, transition
from .uib import UniversalInvertedBottleneck


class SimplifiedAttention(nn.Module):
    """SLAB: linear attention, a depthwise convolution of the values added, a feed-forward part (arXiv 2405.11582).

    The kernel is ReLU. With batch normalisation, which is what the paper's layer normalisation has become by the end of
    training. Both parts add their input.

    Args:
        inputs, outputs, stride: see :mod:`netwright.nets.blocks`; a change of either is a convolution before.
        head_dim: channels of a head; it must divide ``outputs``.
        kernel: the window of the depthwise convolution of the values.
        expansion: hidden channels of the feed-forward part, as a multiple of ``outputs``.
    """

    def __init__(
        self, inputs: int, outputs: int, stride: int = 1, head_dim: int = 8, kernel: int = 3, expansion: float = 4
    ) -> None:
        super().__init__()
        check_divides("head_dim", head_dim, outputs)
        check_windows(kernel=kernel)
        self.head_dim = head_dim
        self.enter = transition(inputs, outputs, stride)
        self.norm = nn.BatchNorm2d(outputs)
        self.queries, self.keys, self.values = (nn.Conv2d(outputs, outputs, 1, bias=False) for _ in range(3))
        self.around = nn.Conv2d(outputs, outputs, kernel, padding=kernel // 2, groups=outputs)
        self.project = conv_norm(outputs, outputs)
        self.feed_forward = UniversalInvertedBottleneck(outputs, outputs, expansion=expansion, middle=0)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        y = self.norm(x)
        parts = self.queries(y), self.keys(y), self.values(y)
        queries, keys, values = (in_heads(part, self.head_dim) for part in parts)
        y = as_images(linear_attention(queries, keys, values), x)
        return self.feed_forward(x + self.project(y + self.around(parts[2])))
