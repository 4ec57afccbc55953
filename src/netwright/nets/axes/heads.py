"""Heads: how many attention heads of a block stay."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from ...core.errors import NetError
from ..cut import ModuleIndex
from .width import ChannelSlice, SizeAttribute, Width


class Heads(Width):
    """The first ``option`` heads of keys and values stay, and with each the query heads that share it.

    In grouped-query attention (Ainslie et al. 2023) a head of keys and values with its query heads is a group; with
    as many of one as of the other a group is a head.
    """

    @classmethod
    def of(
        cls,
        net: nn.Module,
        name: str,
        options: Iterable[int],
        *,
        size: int,
        query: str,
        key: str,
        value: str,
        out: str,
        size_attributes: Iterable[SizeAttribute] = (),
    ) -> Heads:
        """The heads of one attention block with a linear layer each for queries, keys, values and output.

        Args:
            net: the network; layers are named by their paths in it.
            name: the name of the choice.
            options: numbers of heads of keys and values; the last is the whole.
            size: channels of a head.
            query, key, value, out: the linear layers.
            size_attributes: (module, attribute) pairs that hold the number of heads of keys and values.
        """
        index = ModuleIndex(net)
        if size < 1:
            raise NetError(f"heads {name!r}: a head has one channel or more, not {size}")
        slices: list[ChannelSlice] = []
        groups = 0
        for path, makes in ((key, True), (value, True), (query, True), (out, False)):
            layer = index.module(path)
            if not isinstance(layer, nn.Linear):
                raise NetError(f"heads {name!r}: {path} is a {type(layer).__name__}, not a linear layer")
            channels = layer.out_features if makes else layer.in_features
            groups = groups or channels // size
            if not groups or channels % (groups * size):
                raise NetError(f"heads {name!r}: {path} has {channels} channels, not {groups} groups of {size} each")
            own = index.tensors_of.get(path, {})
            if "weight" not in own:
                raise NetError(f"heads {name!r}: {path} makes its weight of other tensors; remove the parametrization")
            block = channels // groups
            slices.append(ChannelSlice(own["weight"], 0 if makes else 1, 0, block))
            if makes and "bias" in own:
                slices.append(ChannelSlice(own["bias"], 0, 0, block))
        made = cls(name, tuple(slices), tuple(options), tuple(size_attributes))
        if made.channels != groups:
            raise NetError(f"heads {name!r}: options must hold {groups}, the whole; got {list(made.options)}")
        return made
