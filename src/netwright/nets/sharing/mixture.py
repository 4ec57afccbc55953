"""Mixtures of super-networks: weights are sums of several sets, weighted by what the architecture is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ...core.candidate import Option
from ...core.errors import NetError
from ...core.space import Choice
from ..cut import CutBuilder, ModuleIndex
from ..supernet import SuperNet
from ..transforms import Transform
from ..weight_sets import Sharing, add_parameter, set_name, shared_tensors

HIDDEN, BIAS = "mixture_hidden", "mixture_bias"
"""The router's first layer, parameters of the network: (hidden, options of all choices) and (hidden,)."""

ROUTER, ROUTER_BIAS = "_router", "_router_bias"
"""The ends of the names of a tensor's own part of the router."""

Per = Literal["layer", "neuron"]


@dataclass(frozen=True)
class Mixed(Transform):
    """A tensor and further sets, by how much more the router gives them than for the largest sub-network.

    Args:
        chosen: places of the options that the sub-network has, among those of all choices.
        largest: the same of the largest.
        reads: the sets, the router's first layer and its bias, and the tensor's own part of it and its bias.
        alike: the sets; where every neuron has its own mixture, the tensor's own part of the router too.
    """

    kind = "mix"
    chosen: tuple[int, ...]
    largest: tuple[int, ...]
    reads: tuple[str, ...] = ()
    alike: tuple[str, ...] = ()

    def __call__(self, kept: Tensor, *others: Tensor) -> Tensor:
        *sets, hidden, bias, router, router_bias = others
        mine, whole = (
            (router @ F.relu(hidden[:, list(places)].sum(1) + bias) + router_bias).softmax(-1)
            for places in (self.chosen, self.largest)
        )
        more = mine - whole
        for number, each in enumerate(sets, 1):
            kept = kept + more[..., number] * each
        return kept


@dataclass(frozen=True)
class Mixture(Sharing):
    """The weights of a sub-network are a mixture of sets, by a router that is told its options.

    Jawahar et al., "Mixture-of-supernets: Improving weight-sharing supernet training with architecture-routed
    mixture-of-experts" (2024), arXiv 2306.04845, layer-wise and neuron-wise. There a weight is the
    sum of experts E_k, each times the share a_k that the router gives it. Here the same is written as W plus the sum of
    (a_k - the largest's a_k) times D_k, where W is the largest's weight and D_k is E_k less the first expert: so the
    network itself is the largest sub-network, and all others begin as plain cuts of it, where each D_k is 0. The router
    is a layer of all options that all tensors share, and one of each tensor's own.

    Args:
        choices: those of the space.
        tensors: those that are mixtures, by name to their numbers of dimensions.
        sets: of weights.
        per: one mixture for each tensor, or one for each of its rows.
        largest: places of the largest's options.
    """

    choices: tuple[Choice, ...]
    tensors: tuple[str, ...]
    sets: int
    per: Per
    largest: tuple[int, ...]

    def write(self, options: Mapping[str, Option], builder: CutBuilder, index: ModuleIndex) -> None:
        for tensor in (HIDDEN, BIAS):
            builder.auxiliary(tensor)
        chosen = places_of(self.choices, options)
        for tensor in self.tensors:
            made = self._mixed(tensor, chosen)
            for name in (*made.reads[: self.sets - 1], *made.reads[-2:]):
                builder.auxiliary(name)
            if chosen != self.largest:
                builder.transform(tensor, made)

    def transforms(self, index: ModuleIndex) -> Mapping[str, frozenset[Transform]]:
        return {tensor: frozenset([self._mixed(tensor, ())]) for tensor in self.tensors}

    def _mixed(self, tensor: str, chosen: tuple[int, ...]) -> Mixed:
        sets = tuple(set_name(tensor, number) for number in range(1, self.sets))
        router = (tensor + ROUTER, tensor + ROUTER_BIAS)
        alike = (*sets, *router) if self.per == "neuron" else sets
        return Mixed(chosen, self.largest, (*sets, HIDDEN, BIAS, *router), alike)


def mixture(net: SuperNet, sets: int = 2, *, per: Per = "layer", hidden: int = 16, seed: int = 0) -> None:
    """Make the weights of sub-networks mixtures of several sets, in place; see :class:`Mixture`.

    The router and the further sets learn with the rest of the super-network, which is counted, extracted and exported
    as before. While it trains, each step adds up as many sets of weights.

    Args:
        net: the super-network; its sub-networks compute what they did until it is trained on.
        sets: of weights, 2 or more.
        per: one mixture for each tensor, or one for each of its rows (``neuron``).
        hidden: the size of the router's first layer.
        seed: of the router's weights.

    Raises :class:`NetError` for a super-network that is shared in another way already.
    """
    if sets < 2 or hidden < 1 or per not in ("layer", "neuron"):
        raise NetError(f"a mixture has 2 sets or more, a hidden layer of 1 or more and is per layer or neuron, not "
                       f"sets={sets}, hidden={hidden}, per={per!r}")  # fmt: skip
    largest = places_of(net.space.choices, net.largest)
    wished = Mixture(net.space.choices, (), sets, per, largest)
    if isinstance(net.sharing, Mixture) and (net.sharing.sets, net.sharing.per) == (wished.sets, wished.per):
        return
    if net.sharing is not None:
        raise NetError(f"the super-network has several sets of weights already: {type(net.sharing).__name__}")
    index, generator = net.index, torch.Generator().manual_seed(seed)
    tensors = tuple(name for name in shared_tensors(index) if index.shapes[name])
    options = sum(len(choice.options) for choice in net.space)
    if not tensors or not options:
        raise NetError("a mixture needs weights that learn, and choices that route them: this network has none")

    def drawn(*shape: int, into: int) -> Tensor:
        like = index.tensor(tensors[0])
        return (torch.randn(shape, generator=generator) / sqrt(into)).to(like.device, like.dtype)

    for tensor in tensors:
        first, *rest = index.shapes[tensor]
        rows = (first, *(1 for _ in rest)) if per == "neuron" else ()
        for number in range(1, sets):
            values = torch.zeros_like(index.tensor(tensor), memory_format=torch.contiguous_format)
            add_parameter(index, tensor, set_name("", number), values)
        add_parameter(index, tensor, ROUTER, drawn(*rows, sets, hidden, into=hidden))
        add_parameter(index, tensor, ROUTER_BIAS, drawn(*rows, sets, into=hidden) * 0)
    net.module.register_parameter(HIDDEN, torch.nn.Parameter(drawn(hidden, options, into=len(net.space))))
    net.module.register_parameter(BIAS, torch.nn.Parameter(drawn(hidden, into=hidden) * 0))
    net.share(Mixture(net.space.choices, tensors, sets, per, largest))


def places_of(choices: tuple[Choice, ...], options: Mapping[str, Option]) -> tuple[int, ...]:
    """Places of a sub-network's options among the options of all choices; a choice that it does not have has none."""
    found, start = [], 0
    for choice in choices:
        if choice.name in options:
            found.append(start + choice.options.index(options[choice.name]))
        start += len(choice.options)
    return tuple(found)
