"""The hourglass MLP (Chen et al. 2025, "Rethinking the shape convention of an MLP", arXiv 2510.01796)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from ..units import check_positive
from .parts import conv_norm, transition


class HourglassMlp(nn.Module):
    """Hourglass MLP: each position goes through few hidden channels and is added among many (arXiv 2510.01796).

    It mixes channels alone: what mixes positions are the blocks around it, and its own convolution for a stride.

    Args:
        inputs, outputs, stride: see :mod:`netwright.nets.blocks`; a change of either is a convolution before.
        narrowing: hidden channels, as a share of ``outputs``.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1, narrowing: float = 0.5) -> None:
        super().__init__()
        check_positive(narrowing=narrowing)
        hidden = max(1, round(outputs * narrowing))
        self.enter = transition(inputs, outputs, stride)
        self.narrow = conv_norm(outputs, hidden)
        self.widen = conv_norm(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        return x + self.widen(F.relu(self.narrow(x)))
