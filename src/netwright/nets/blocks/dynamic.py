"""Dynamic convolution (Chen et al. 2019, arXiv 1912.03458), as in ParameterNet (Han et al. 2023, arXiv 2306.14525)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..units import check_positive, check_windows, hidden_channels
from .parts import conv_norm


class DynamicConv(nn.Module):
    """A 1x1 convolution whose weight is mixed for each image, of several, by what the image is like on average.

    The coefficients are a softmax over two linear layers of the mean over positions (ParameterNet).

    Args:
        inputs, outputs: channels.
        experts: weights to mix.
    """

    def __init__(self, inputs: int, outputs: int, experts: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(inputs, max(4, inputs // 4))
        self.choose = nn.Linear(max(4, inputs // 4), experts)
        self.weight = nn.Parameter(torch.randn(experts, outputs, inputs) * (2 / inputs) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        shares = self.choose(F.relu(self.squeeze(x.mean((2, 3))))).softmax(1)
        weight = (shares[:, :, None, None] * self.weight).sum(1)
        return (weight @ x.flatten(2)).unflatten(2, x.shape[2:])


class DynamicResidual(nn.Module):
    """ParameterNet: an inverted residual with 1x1 convolutions mixed for each image (arXiv 1912.03458, 2306.14525).

    Several times the parameters, hardly more multiplications.

    Args:
        inputs, outputs, stride: see :mod:`netwright.nets.blocks`.
        expansion: hidden channels, as a multiple of ``inputs``.
        kernel: the window of the depthwise convolution.
        experts: weights to mix, of each 1x1 convolution.
    """

    def __init__(
        self, inputs: int, outputs: int, stride: int = 1, expansion: float = 4, kernel: int = 3, experts: int = 4
    ) -> None:
        super().__init__()
        check_positive(inputs=inputs, outputs=outputs, stride=stride, experts=experts)
        check_windows(kernel=kernel)
        hidden = hidden_channels(inputs, expansion)
        self.expand, self.expand_norm = DynamicConv(inputs, hidden, experts), nn.BatchNorm2d(hidden)
        self.filter = conv_norm(hidden, hidden, kernel, stride, groups=hidden)
        self.project, self.project_norm = DynamicConv(hidden, outputs, experts), nn.BatchNorm2d(outputs)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.expand_norm(self.expand(x)))
        y = F.relu(self.filter(y))
        y = self.project_norm(self.project(y))
        return x + y if self.residual else y
