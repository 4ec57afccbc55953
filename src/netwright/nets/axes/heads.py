"""Heads: how many attention heads of a block stay."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from ...core.errors import NetError
from ..cut import ModuleIndex
from ..layers import is_linear, is_transposed_linear
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
            query, key, value, out: the linear layers. One path for the first three is a layer that makes queries,
                keys and values, in this order and of as many heads.
            size_attributes: (module, attribute) pairs that hold the number of heads of keys and values.
        """
        index = ModuleIndex(net)
        if size < 1:
            raise NetError(f"heads {name!r}: a head has one channel or more, not {size}")
        slices: list[ChannelSlice] = []
        groups = 0
        shared = 3 if query == key == value else 1
        for path, makes, place in ((key, True, 1), (value, True, 2), (query, True, 0), (out, False, 0)):
            layer: Any = index.module(path)
            if not is_linear(layer):
                raise NetError(f"heads {name!r}: {path} is a {type(layer).__name__}, not a linear layer")
            own = index.tensors_of.get(path, {})
            if "weight" not in own:
                raise NetError(f"heads {name!r}: {path} makes its weight of other tensors; remove the parametrization")
            dim = int(makes == is_transposed_linear(layer))
            times = shared if makes else 1
            channels = index.shapes[own["weight"]][dim] // times
            groups = groups or channels // size
            if not groups or channels % (groups * size) or channels * times != index.shapes[own["weight"]][dim]:
                raise NetError(f"heads {name!r}: {path} has {channels} channels, not {groups} groups of {size} each")
            block, offset = channels // groups, place * channels if times > 1 else 0
            slices.append(ChannelSlice(own["weight"], dim, offset, block))
            if makes and "bias" in own:
                slices.append(ChannelSlice(own["bias"], 0, offset, block))
        made = cls(name, tuple(slices), tuple(options), tuple(size_attributes))
        if made.channels != groups:
            raise NetError(f"heads {name!r}: options must hold {groups}, the whole; got {list(made.options)}")
        return made
