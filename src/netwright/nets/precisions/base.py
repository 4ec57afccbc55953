"""What a precision is, and the rounding that several share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

SCALE_BYTES = 4
FLOAT_BITS = 32


class Precision(ABC):
    """How a layer's weights and activations are rounded, and what they take.

    What is rounded has float32 values that fewer bits can hold, so that any layer computes with them. What a rounding
    makes, it leaves as it is: what was rounded once is what a runtime's own quantiser finds.

    Attributes:
        weights: bits of a weight.
        activations: bits of an input of the layer; 32: it is not rounded.
    """

    weights: int
    activations: int = FLOAT_BITS

    @abstractmethod
    def round_weights(self, weight: Tensor) -> Tensor:
        """The weight rounded, in its own shape; the first dimension is the layer's output channels."""

    def more_bytes(self, shape: Sequence[int]) -> int:
        """What is stored beside weights of this shape (channels, ...): by default a scale for each channel."""
        return SCALE_BYTES * shape[0]

    def round_inputs(self, inputs: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Activations rounded to 2^bits values that are evenly spaced and of which one is 0, as ONNX Runtime's
        ``QuantizeLinear`` rounds (half to even) and saturates; as they are where they keep all their bits.

        Args:
            inputs: of any shape.
            low: the least value that is expected, of a shape that broadcasts.
            high: the greatest.
        """
        if self.activations >= FLOAT_BITS:
            return inputs
        most = 2**self.activations - 1
        low, high = low.clamp(max=0), high.clamp(min=0)
        scale = (high - low) / most
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        zero = (-low / scale).round()
        steps = (inputs / scale).round() + zero
        rounded = (steps.clamp(0, most) - zero) * scale
        if torch.is_grad_enabled() and inputs.requires_grad:
            # Beyond the range nothing is learned: a change there changes nothing.
            return straight_through(inputs.clamp((0 - zero) * scale, (most - zero) * scale), rounded)
        return rounded


def per_channel(weight: Tensor, function: Any) -> Tensor:
    """A number for each of the first dimension, such as ``torch.amax`` of the others, shaped to broadcast."""
    return function(weight.flatten(1), 1).reshape(-1, *[1] * (weight.dim() - 1))


class _StraightThrough(torch.autograd.Function):
    """Gives the second and is differentiated as the first (Bengio et al. 2013, arXiv 1308.3432)."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, rounded: Tensor) -> Tensor:
        return rounded.view_as(rounded)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def straight_through(value: Tensor, rounded: Tensor) -> Tensor:
    """The rounded value, with the gradient of the value itself."""
    if not (torch.is_grad_enabled() and value.requires_grad):
        return rounded
    made: Tensor = _StraightThrough.apply(value, rounded.detach())
    return made
