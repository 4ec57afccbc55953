"""Convolutions with their normalisation, one beside the other, as one convolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..folding import factor_and_shift


def merged(branches: Sequence[nn.Module]) -> nn.Conv2d:
    """The convolution that computes what branches, added up, compute in evaluation mode.

    A window with holes is a larger one with zeros, a smaller window one with a margin of zeros, the input itself a
    window of which the middle alone is not zero; normalisation is a factor and a bias.

    Args:
        branches: convolutions with batch normalisation, children ``conv`` and ``bn``, of odd windows that keep the
            size of the image, and of one stride; also the normalisation alone, of the input itself. One of them at
            least is a convolution.
    """
    layers: list[Any] = [getattr(branch, "conv", None) for branch in branches]
    spans = [1 if conv is None else conv.dilation[0] * (conv.kernel_size[0] - 1) + 1 for conv in layers]
    like, span = next(conv for conv in layers if conv is not None), max(spans)
    made: Any = nn.Conv2d(like.in_channels, like.out_channels, span, like.stride, span // 2, groups=like.groups)
    weight, bias = torch.zeros_like(made.weight), torch.zeros_like(made.bias)
    for branch, conv, own in zip(branches, layers, spans, strict=True):
        norm: Any = branch if conv is None else branch.bn
        window = _nothing(made) if conv is None else _without_holes(conv, own)
        factor, shift = factor_and_shift(norm)
        weight += F.pad(window * factor[:, None, None, None], [(span - own) // 2] * 4)
        bias += shift
    made.weight.copy_(weight)
    made.bias.copy_(bias)
    return made


def _without_holes(conv: nn.Conv2d, span: int) -> Tensor:
    window = conv.weight.new_zeros(*conv.weight.shape[:2], span, span)
    step = conv.dilation[0]
    window[:, :, ::step, ::step] = conv.weight
    return window


def _nothing(conv: nn.Conv2d) -> Tensor:
    """The 1x1 window that gives what it is given."""
    own = conv.in_channels // conv.groups
    at = torch.arange(conv.out_channels) % own
    return F.one_hot(at, own).to(conv.weight)[:, :, None, None]
