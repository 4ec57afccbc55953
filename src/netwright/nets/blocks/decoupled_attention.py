"""Decoupled linear attention after the CARE Transformer (Zhou et al. 2024, arXiv 2411.16170)."""

from __future__ import annotations

from torch import Tensor, cat, nn
from torch.nn import functional as F

from ..units import check_positive, check_windows, hidden_channels
from .parts import as_images, check_divides, conv_norm, in_heads, linear_attention, transition


class DecoupledAttention(nn.Module):
    """CARE: a few channels attend to all positions, depthwise convolutions filter the others (arXiv 2411.16170).

    Then both interact. The asymmetric parting and an interaction of the two parts are the paper's; its memory along the
    layers, which needs more than a block's input, is left out. 1x1 convolutions make the parts. The input is added.

    Args:
        inputs, outputs, stride: see :mod:`netwright.nets.blocks`; a change of either is a convolution before.
        share: channels that attend, as a share of ``outputs``, in whole heads.
        head_dim: channels of a head; it must divide ``outputs``.
        kernel: the window of the depthwise convolutions.
        expansion: hidden channels of the interaction, as a multiple of ``outputs``.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        stride: int = 1,
        share: float = 0.25,
        head_dim: int = 8,
        kernel: int = 3,
        expansion: float = 2,
    ) -> None:
        super().__init__()
        check_divides("head_dim", head_dim, outputs)
        check_positive(share=share)
        check_windows(kernel=kernel)
        self.head_dim = head_dim
        few = max(1, round(outputs * share / head_dim)) * head_dim
        many = max(1, outputs - few)
        self.enter = transition(inputs, outputs, stride)
        self.queries, self.keys, self.values = (nn.Conv2d(outputs, few, 1, bias=False) for _ in range(3))
        self.part = conv_norm(outputs, many)
        self.first = conv_norm(many, many, kernel, groups=many)
        self.second = conv_norm(many, many, kernel, groups=many)
        self.norm = nn.BatchNorm2d(few)
        hidden = hidden_channels(outputs, expansion)
        self.join = conv_norm(few + many, hidden)
        self.mix = conv_norm(hidden, hidden, kernel, groups=hidden)
        self.project = conv_norm(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        heads = [in_heads(part(x), self.head_dim) for part in (self.queries, self.keys, self.values)]
        far = as_images(linear_attention(*heads), x)
        near = self.second(F.relu(self.first(self.part(x))))
        y = F.relu(self.join(cat([self.norm(far), near], 1)))
        return x + self.project(F.relu(self.mix(y)))
