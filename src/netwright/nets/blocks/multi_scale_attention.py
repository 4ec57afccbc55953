"""Multi-scale linear attention of EfficientViT (Cai et al. 2022, arXiv 2205.14756)."""

from __future__ import annotations

from torch import Tensor, cat, nn

from ..units import check_windows
from .parts import as_images, check_divides, conv_norm, linear_attention, transition
from .uib import UniversalInvertedBottleneck


class MultiScaleAttention(nn.Module):
    """EfficientViT: linear attention of positions and of their surroundings, a feed-forward part (arXiv 2205.14756).

    The kernel is ReLU. Half of the heads attend to queries, keys and values as they are, the other half to what a
    depthwise convolution and one of each head make of them. Both parts add their input.

    Args:
        inputs, outputs, stride: see :mod:`netwright.nets.blocks`; a change of either is a convolution before.
        head_dim: channels of a head; it must divide ``outputs``.
        scale: the window of the depthwise convolution.
        expansion: hidden channels of the feed-forward part, as a multiple of ``outputs``.
    """

    def __init__(
        self, inputs: int, outputs: int, stride: int = 1, head_dim: int = 8, scale: int = 5, expansion: float = 4
    ) -> None:
        super().__init__()
        check_divides("head_dim", head_dim, outputs)
        check_windows(scale=scale)
        self.head_dim, three = head_dim, 3 * outputs
        self.enter = transition(inputs, outputs, stride)
        self.each = nn.Conv2d(outputs, three, 1, bias=False)  # a head's queries, keys and values side by side
        self.around = nn.Conv2d(three, three, scale, padding=scale // 2, groups=three, bias=False)
        self.gather = nn.Conv2d(three, three, 1, groups=three // head_dim, bias=False)
        self.project = conv_norm(2 * outputs, outputs)
        self.feed_forward = UniversalInvertedBottleneck(outputs, outputs, expansion=expansion)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        each = self.each(x)
        both = cat([each, self.gather(self.around(each))], 1)
        heads = both.unflatten(1, (-1, 3, self.head_dim)).flatten(4)
        y = linear_attention(heads[:, :, 0], heads[:, :, 1], heads[:, :, 2])
        return self.feed_forward(x + self.project(as_images(y, x)))
