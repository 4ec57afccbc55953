"""Unified normalisation: batch normalisation that bears what a Transformer's activations do, and folds as well.

UN (Yang et al. 2022, "Unified normalization for accelerating and stabilizing Transformers", arXiv 2208.01313): channels
are divided by the root of their mean square and not centred; what they are divided by in training is the geometric mean
over the last few batches, what is taken from the gradient the arithmetic mean over these; a batch whose statistics are
far from those before it is normalised by its own alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WINDOW = 4
"""Batches that statistics are smoothed over, as in the paper."""


class UnifiedNorm(nn.BatchNorm1d):
    """Normalises each channel of (positions, channels); see the module. In evaluation mode it is batch normalisation
    whose running mean is zero.

    The paper smooths after a few thousand steps only; here from the first full window on, for the layer normalisation
    that it takes the place of goes over slowly. In a cut sub-network nothing is smoothed: the batches before were
    another one's.

    Args:
        channels: of each position.
        eps: what is added to the mean square.

    Attributes:
        squares: the mean squares of the last batches; shape (WINDOW, channels).
        products: for the gradient, the means of it times the result, likewise.
    """

    squares: Tensor
    products: Tensor

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__(channels, eps)
        self.register_buffer("squares", torch.zeros(WINDOW, channels))
        self.register_buffer("products", torch.zeros(WINDOW, channels))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        square = x.detach().square().mean(0)
        count, at = self._count()
        keeps = self.momentum is not None and self.squares.shape[1] == x.shape[1]
        smoothed = self._smoothed(square, at, count > WINDOW) if keeps else None
        divided = square if smoothed is None else smoothed
        self._follow(divided, count)
        products = self.products if keeps else None
        deviation = (divided + self.eps).sqrt()
        return self.weight * _Divided.apply(x, deviation, products, at, smoothed is not None) + self.bias

    def _count(self) -> tuple[int, int]:
        """How many batches there were with this one, and its place in the window."""
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        count = int(self.num_batches_tracked)
        return count, count % WINDOW

    @torch.no_grad()
    def _smoothed(self, square: Tensor, at: int, full: bool) -> Tensor | None:
        """Keep a batch's mean squares, and give the geometric mean over the window; None where that is not full yet.

        Where arithmetic and geometric mean are farther apart than the roots before vary (section 3.3), the running
        statistics are kept in the place of the batch's, and None is given too.
        """
        assert self.running_var is not None
        vary = self.squares.sqrt().var()
        self.squares[at] = square
        if not full:
            return None
        geometric = self.squares.log().mean(0).exp()
        if (self.squares.mean(0) - geometric > WINDOW * vary).any():
            self.squares[at] = self.running_var
            return None
        return geometric

    @torch.no_grad()
    def _follow(self, divided: Tensor, count: int) -> None:
        """Let the running statistics follow."""
        assert self.running_var is not None
        self.running_var.lerp_(divided, 1 / count if self.momentum is None else self.momentum)


class _Divided(torch.autograd.Function):
    """Inputs over a deviation; the gradient takes that for made of them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, deviation: Tensor, products: Tensor | None, at: int, smooth: bool) -> Tensor:
        result = x / deviation
        ctx.save_for_backward(result, deviation)
        ctx.products, ctx.at, ctx.smooth = products, at, smooth
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        result, deviation = ctx.saved_tensors
        own = (gradient * result).mean(0)
        if ctx.products is not None:
            ctx.products[ctx.at] = own
            own = ctx.products.mean(0) if ctx.smooth else own
        return (gradient - own * result) / deviation, None, None, None, None
