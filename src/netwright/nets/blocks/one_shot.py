"""One-shot aggregation of VoVNet (Lee et al. 2019, arXiv 1904.09730)."""

from __future__ import annotations

from torch import Tensor, cat, nn
from torch.nn import functional as F

from ..units import check_positive
from .parts import conv_norm


class OneShotAggregation(nn.Module):
    """VoVNet: a chain of 3x3 convolutions whose results are put side by side once, at the end (arXiv 1904.09730).

    That keeps what dense connections reuse, without reading all of it before every layer. The input is added where the
    shapes allow (VoVNetV2: Lee and Park 2019, arXiv 1911.06667). A stride is a pooling of 3x3 before, as in the paper.

    Args:
        inputs, outputs, stride: see :mod:`netwright.nets.blocks`.
        share: channels of each link of the chain, as a share of ``outputs``.
        depth: how many links the chain has.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1, share: float = 0.5, depth: int = 3) -> None:
        super().__init__()
        check_positive(inputs=inputs, outputs=outputs, stride=stride, share=share, depth=depth)
        own = max(1, round(outputs * share))
        self.enter = nn.Identity() if stride == 1 else nn.MaxPool2d(3, stride, 1)
        self.chain = nn.ModuleList(conv_norm(own if at else inputs, own, 3) for at in range(depth))
        self.merge = conv_norm(inputs + depth * own, outputs)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        found = [x]
        for each in self.chain:
            found.append(F.relu(each(found[-1])))
        y = F.relu(self.merge(cat(found, 1)))
        return x + y if self.residual else y
