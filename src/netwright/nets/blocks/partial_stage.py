"""The cross stage partial block of CSPNet (Wang et al. 2019, arXiv 1911.11929)."""

from __future__ import annotations

from torch import Tensor, cat, nn
from torch.nn import functional as F

from ..units import check_positive
from .parts import conv_norm, transition


class PartialStage(nn.Module):
    """CSPNet: one part of the channels goes through residual units, the other past them (arXiv 1911.11929).

    A 1x1 convolution makes each of the parts, as in the detectors that followed the paper, and one merges both.

    Args:
        inputs, outputs, stride: see :mod:`netwright.nets.blocks`; a stride is a convolution before.
        share: channels of each of the parts, as a share of ``outputs``.
        depth: residual units, each a 1x1 and a 3x3 convolution.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1, share: float = 0.5, depth: int = 1) -> None:
        super().__init__()
        check_positive(share=share, depth=depth)
        part = max(1, round(outputs * share))
        entered = inputs if stride == 1 else outputs
        self.enter = transition(inputs, entered, stride)
        self.past = conv_norm(entered, part)
        self.through = conv_norm(entered, part)
        self.units = nn.ModuleList(
            nn.Sequential(conv_norm(part, part), nn.ReLU(), conv_norm(part, part, 3), nn.ReLU()) for _ in range(depth)
        )
        self.merge = conv_norm(2 * part, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        y = F.relu(self.through(x))
        for each in self.units:
            y = y + each(y)
        return F.relu(self.merge(cat([F.relu(self.past(x)), y], 1)))
