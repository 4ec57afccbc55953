"""The universal inverted bottleneck of MobileNetV4 (Qin et al. 2024, arXiv 2404.10518)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from ...core.errors import NetError
from ..units import check_positive, check_windows, hidden_channels
from .parts import conv_norm


class UniversalInvertedBottleneck(nn.Module):
    """MobileNetV4: expand and project, with or without depthwise convolutions before and in between (arXiv 2404.10518).

    Its four forms: with that in between it is the inverted bottleneck of MobileNetV2, with that before it is like
    ConvNeXt's block, with neither the feed-forward part of a Transformer, with both "extra depthwise". The input is
    added where the shapes allow.

    Args:
        inputs, outputs, stride: see :mod:`netwright.nets.blocks`.
        expansion: hidden channels, as a multiple of ``inputs``.
        start: the window of the depthwise convolution before the expansion; 0 for none.
        middle: the window of the one after it, which takes the stride where it is there; 0 for none.

    Raises :class:`NetError` for a stride without a depthwise convolution that could take it.
    """

    def __init__(
        self, inputs: int, outputs: int, stride: int = 1, expansion: float = 4, start: int = 0, middle: int = 3
    ) -> None:
        super().__init__()
        check_positive(inputs=inputs, outputs=outputs, stride=stride)
        check_windows(**{name: window for name, window in {"start": start, "middle": middle}.items() if window != 0})
        if stride > 1 and not (start or middle):
            raise NetError(f"uib without depthwise convolutions cannot have stride {stride}: give start=3 or middle=3")
        hidden = hidden_channels(inputs, expansion)
        own = 1 if middle else stride
        self.start = conv_norm(inputs, inputs, start, own, groups=inputs) if start else None
        self.expand = conv_norm(inputs, hidden)
        self.middle = conv_norm(hidden, hidden, middle, stride, groups=hidden) if middle else None
        self.project = conv_norm(hidden, outputs)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.start is None else self.start(x)
        y = F.relu(self.expand(y))
        y = y if self.middle is None else F.relu(self.middle(y))
        y = self.project(y)
        return x + y if self.residual else y
