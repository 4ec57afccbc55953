"""Rank: a matrix as the product of two thinner ones, cut between them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from ...core.errors import NetError
from ..cut import ModuleIndex
from ..layers import is_transposed_linear
from .base import check_options
from .width import ChannelSlice, Width


class Rank(Width):
    """The first ``option`` singular directions of a factorised layer stay (Denton et al. 2014, section 3.2).

    :func:`factorise` makes the layer two; ``option`` is the width between them. The directions lie in falling order
    of their singular values, so that a cut is the best approximation of that rank (Eckart and Young 1936).
    """

    @classmethod
    def of(cls, net: nn.Module, name: str, layer: str, options: Iterable[int]) -> Rank:
        """The axis of one layer that :func:`factorise` was called for.

        Args:
            net: the network.
            name: the name of the choice.
            layer: path of the factorised layer.
            options: ranks; the last is the whole. A rank pays where it is below ``in * out / (in + out)``.
        """
        pair = ModuleIndex(net).module(layer)
        if not isinstance(pair, Factorised):
            raise NetError(f"rank {name!r}: {layer} is a {type(pair).__name__}; factorise(net, {layer!r}) first")
        first: Any = pair[0]
        slices = (ChannelSlice(f"{layer}.0.weight", 0), ChannelSlice(f"{layer}.1.weight", 1))
        return cls(name, slices, check_options(name, options, first.weight.shape[0]))


class Factorised(nn.Sequential):
    """Two layers, the first without a bias, that compute what one did."""

    @property
    def pays_below(self) -> float:
        """See :func:`pays_below`."""
        first: Any = self[0]
        second: Any = self[1]
        return pays_below((second.weight.shape[0], *first.weight.shape[1:]))

    @torch.no_grad()
    def folded(self) -> nn.Module:
        """One layer again, where the two cost no less."""
        first: Any = self[0]
        second: Any = self[1]
        if first.weight.shape[0] < self.pays_below:
            return nn.Sequential(first, second)
        bias = second.bias is not None
        one: Any
        if isinstance(first, nn.Linear):
            one = nn.Linear(first.in_features, second.out_features, bias)
        else:
            one = _convolution_like(first, second.out_channels, bias)
        product = second.weight.double().flatten(1) @ first.weight.double().flatten(1)
        one.weight.copy_(product.reshape(one.weight.shape))
        if bias:
            one.bias.copy_(second.bias)
        return one


def pays_below(shape: Sequence[int]) -> float:
    """The rank from which on two layers have as many weights and multiply-accumulates as one with such a weight."""
    outputs, inputs = shape[0], prod(shape[1:])
    return inputs * outputs / max(inputs + outputs, 1)


def rank_within(values: Tensor, tolerance: float) -> int:
    """The least rank, at least 1, for which no more than a share of a matrix is lost, in the Frobenius norm
    (Schotthöfer et al. 2022, equation 8: what is dropped is at most ``tolerance`` of the root of the sum of squares).

    Args:
        values: its singular values in falling order.
        tolerance: the share.
    """
    tails = values.double().square().flip(0).cumsum(0).sqrt()  # of the last 1, 2, ... values
    return max(1, len(values) - int((tails <= tolerance * tails[-1]).sum()))


def _convolution_like(layer: nn.Conv2d, channels: int, bias: bool) -> nn.Conv2d:
    """One with other outputs, and all else that its window has."""
    return nn.Conv2d(
        layer.in_channels,
        channels,
        layer.kernel_size,  # type: ignore[arg-type]
        layer.stride,  # type: ignore[arg-type]
        layer.padding,  # type: ignore[arg-type]
        layer.dilation,  # type: ignore[arg-type]
        bias=bias,
        padding_mode=layer.padding_mode,
    )


def why_not(index: ModuleIndex, layer: str) -> str:
    """Why a layer cannot be factorised, or nothing."""
    whole = index.modules[layer]
    linear = isinstance(whole, nn.Linear) or is_transposed_linear(whole)
    if not linear and not (isinstance(whole, nn.Conv2d) and whole.groups == 1):
        return f"{layer} is a {type(whole).__name__}; a linear layer or an ungrouped Conv2d can be factorised"
    if whole is index.root:
        return "the network is one layer, which nothing holds; put it into an nn.Sequential"
    if "weight" not in index.tensors_of.get(layer, {}):
        return f"{layer} makes its weight of other tensors (weight_norm does); remove the parametrization"
    if len(index.owners[index.tensors_of[layer]["weight"]]) > 1:
        return f"{layer} shares its weight with another place; factorise layers that stand alone"
    return ""


@torch.no_grad()
def factorise(net: nn.Module, layer: str) -> None:
    """Replace a linear layer or an ungrouped 2D convolution by two of full rank, in place, by its SVD.

    Where the two cost no less than one (at full rank), they are measured and exported as one.

    Args:
        net: the network.
        layer: the layer's path (transformers' ``Conv1D`` is a linear layer). ``W = U S V`` becomes ``V`` times the root
            of ``S``, then ``U`` times the root of ``S``; a convolution's window goes to the first, which has stride
            and padding, the second is 1x1.
    """
    index = ModuleIndex(net)
    whole: Any = index.module(layer)
    if reason := why_not(index, layer):
        raise NetError(reason)
    turned = is_transposed_linear(whole)
    weight, bias = whole.weight.detach().T if turned else whole.weight.detach(), whole.bias is not None
    u, s, v = torch.linalg.svd(weight.double().flatten(1), full_matrices=False)
    root, rank = s.sqrt(), len(s)
    first: nn.Linear | nn.Conv2d
    second: nn.Linear | nn.Conv2d
    if turned or isinstance(whole, nn.Linear):
        first = nn.Linear(weight.shape[1], rank, bias=False)
        second = nn.Linear(rank, weight.shape[0], bias)
    else:
        first = _convolution_like(whole, rank, False)
        second = nn.Conv2d(rank, whole.out_channels, 1, bias=bias)
    pair = Factorised(first, second).to(weight.device, weight.dtype).train(whole.training)
    first.weight.copy_((root[:, None] * v).reshape(first.weight.shape))
    second.weight.copy_((u * root).reshape(second.weight.shape))
    if whole.bias is not None and second.bias is not None:
        second.bias.copy_(whole.bias)
        second.bias.requires_grad_(whole.bias.requires_grad)
    for half in (first, second):
        half.weight.requires_grad_(whole.weight.requires_grad)
    parent, own = index.parent(layer)
    parent._modules[own] = pair
