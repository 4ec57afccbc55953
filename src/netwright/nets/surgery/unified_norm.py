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
        smooth = self.momentum is not None and self.squares.shape[1] == x.shape[1]
        whole = smooth and count > WINDOW
        divided = square
        if smooth:
            before = self.squares.sqrt()
            with torch.no_grad():
                self.squares[at] = square
                if whole and not self._is_outlier(before):
                    divided = self.squares.log().mean(0).exp()
                elif whole:
                    whole = False
                    self.squares[at].copy_(self.running_var)  # type: ignore[arg-type]
        self._follow(divided, count)
        products = self.products if smooth else None
        return self.weight * _Divided.apply(x, (divided + self.eps).sqrt(), products, at, whole) + self.bias

    def _count(self) -> tuple[int, int]:
        """How many batches there were with this one, and its place in the window."""
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        count = int(self.num_batches_tracked)
        return count, count % WINDOW

    def _is_outlier(self, before: Tensor) -> bool:
        """Whether arithmetic and geometric mean are farther apart than the roots before vary (section 3.3)."""
        apart = self.squares.mean(0) - self.squares.log().mean(0).exp()
        return bool((apart > WINDOW * before.var()).any())

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
