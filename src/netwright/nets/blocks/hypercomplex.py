"""Parameterised hypercomplex convolutions: PHM (Zhang et al. 2021, arXiv 2102.08597), PHC (Grassucci et al. 2021, arXiv
2110.04176)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..units import check_positive, check_windows
from .parts import check_divides


class HypercomplexConv(nn.Module):
    """A convolution whose weight is a sum of n Kronecker products: 1 / n of the parameters, the same multiplications.

    The rules by which the n components of a number are multiplied are learned.
    Components of one number lie side by side, so that whole numbers can be dropped.

    Args:
        inputs, outputs: channels, multiples of n.
        kernel, stride: of the convolution, which keeps the size of the image but for its stride.
        n: components of a number; 4 is as many as quaternions have.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, n: int) -> None:
        super().__init__()
        check_divides("n", n, inputs)
        check_divides("n", n, outputs)
        self.stride = stride
        self.rules = nn.Parameter(torch.randn(n, n, n) / n)
        self.filters = nn.Parameter(torch.empty(n, outputs // n, inputs // n, kernel, kernel))
        nn.init.normal_(self.filters, std=(2 / (inputs * kernel * kernel)) ** 0.5 * n**0.5)

    def weight(self) -> Tensor:
        """The weight of the ordinary convolution that this is, of shape (outputs, inputs, kernel, kernel)."""
        rules = self.rules[:, None, :, None, :, None, None]
        return (self.filters[:, :, None, :, None] * rules).sum(0).flatten(2, 3).flatten(0, 1)

    def folded(self) -> nn.Module:
        """The ordinary convolution that this is: on a device the products are made once."""
        weight = self.weight()
        outputs, inputs, kernel, _ = weight.shape
        conv = nn.Conv2d(inputs, outputs, kernel, self.stride, kernel // 2, bias=False)
        conv.weight = nn.Parameter(weight.detach())
        return conv

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight()
        return F.conv2d(x, weight, None, self.stride, weight.shape[-1] // 2)


class Hypercomplex(nn.Module):
    """PHC: two 3x3 convolutions of numbers of `n` components, as in a residual network (arXiv 2102.08597, 2110.04176).

    The input is added where the shapes allow.

    Args:
        inputs, outputs, stride: see :mod:`netwright.nets.blocks`; both must be multiples of ``n``.
        n: components of a number: 1 / n of the parameters of ordinary convolutions.
        kernel: the window of the convolutions.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1, n: int = 4, kernel: int = 3) -> None:
        super().__init__()
        check_positive(inputs=inputs, outputs=outputs, stride=stride)
        check_windows(kernel=kernel)
        self.first, self.first_norm = HypercomplexConv(inputs, outputs, kernel, stride, n), nn.BatchNorm2d(outputs)
        self.second, self.second_norm = HypercomplexConv(outputs, outputs, kernel, 1, n), nn.BatchNorm2d(outputs)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.first_norm(self.first(x)))
        y = self.second_norm(self.second(y))
        return F.relu(x + y if self.residual else y)
