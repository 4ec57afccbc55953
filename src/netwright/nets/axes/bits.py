"""Bits: the precision of layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from ...core.candidate import Option
from ...core.errors import NetError, did_you_mean
from ..cut import Cut, CutBuilder, ModuleIndex, applied
from ..foldable import foldable, is_folded
from ..inputs import Inputs, call, evaluating, fresh
from ..isolation import isolated
from ..layers import is_convolution
from ..precisions.registry import FLOAT32, precision_of
from ..rounding import INPUTS, Rounded, add_input_rounding, can_be_rounded
from .base import Axis, Region

Groups = str | Mapping[str, Sequence[str]]


class Net(Protocol):
    """A super-network, as far as layers are looked for in it."""

    module: nn.Module
    index: ModuleIndex
    example_inputs: Inputs


@dataclass(frozen=True)
class Bits(Axis):
    """Layers have weights and inputs of fewer bits.

    A layer's weight is rounded where the cut takes its part of it, its input by a module that the layer holds
    (:class:`netwright.nets.rounding.InputRounding`). Gradients go straight through, so that whatever trains
    sub-networks trains rounded ones too.

    Args:
        name: the name of the choice.
        layers: paths of the layers, which all take the same precision; :meth:`of` prepares them.
        options: precisions (:data:`netwright.nets.precisions.PRECISIONS`), such as ``int8`` or
            ``uniform,weights=3``; the last is ``float32``.
    """

    name: str
    layers: tuple[str, ...]
    options: tuple[str, ...]

    def __post_init__(self) -> None:
        for own in ("layers", "options"):
            object.__setattr__(self, own, tuple(getattr(self, own)))
        if not self.layers:
            raise NetError(f"axis {self.name!r}: it names no layer")
        if not self.options or self.options[-1] != FLOAT32 or len({*self.options}) < len(self.options):
            raise NetError(
                f"axis {self.name!r}: options are different precisions, and the last is {FLOAT32!r}, the whole; got "
                f"{list(self.options)}"
            )
        for option in self.options:
            precision_of(option)

    @classmethod
    def of(
        cls,
        net: Net,
        options: Iterable[str] = ("int8", FLOAT32),
        by: Groups = "layer",
        keep: Iterable[str] | None = None,
    ) -> list[Bits]:
        """Axes for the layers of a super-network, which are prepared for it, in place:
        ``net.with_axes([*net.axes, *nw.Bits.of(net)])``.

        Convolutions and linear layers can be rounded. One whose weight another place holds too, that makes its weight
        of other tensors, that does not run on the example, or that is folded, stays as it is.

        Args:
            net: the super-network; load weights before.
            options: the same for all, least bits first.
            by: what takes one precision together: each ``layer``, each ``block`` (layers of one parent module), each
                ``type`` of layer, or a mapping of names to the paths of layers.
            keep: paths of layers that stay in float32, or of modules around them; None: the first layer that runs, and
                the last.

        Raises :class:`NetError` where no layer is left.
        """
        if isinstance(net, nn.Module):
            raise NetError(
                f"Bits.of takes a super-network, not a {type(net).__name__}: nw.SuperNet(network, [], example_inputs) "
                "makes one of any network, nw.wrap finds its widths too"
            )
        found = _layers(net)
        kept = [found[0], found[-1]] if keep is None and found else list(keep or ())
        for path in kept:
            net.index.module(path)
        left = [path for path in found if not is_folded(f"{path}.", kept)]
        if not left:
            raise NetError(
                f"there is no layer to round: of {found or 'no convolution or linear layer'} all are kept in float32; "
                "keep=() keeps none"
            )
        constant = _constant_ranges([net.index.modules[path] for path in found])
        groups = _grouped(net.index, left, by)
        if not groups:
            raise NetError("by= names no layer; name some of " + ", ".join(left))
        for path in (each for layers in groups.values() for each in layers):
            add_input_rounding(net.index.modules[path], constant)
        return [cls(f"{name}.bits", tuple(layers), tuple(options)) for name, layers in groups.items()]

    def affected_modules(self, index: ModuleIndex) -> set[str]:
        for layer in self.layers:
            if not can_be_rounded(index.module(layer)) or "weight" not in index.tensors_of.get(layer, {}):
                raise NetError(
                    f"axis {self.name!r}: {layer} is a {type(index.modules[layer]).__name__} that has no bits"
                )
            if f"{layer}.{INPUTS}" not in index.modules:
                raise NetError(f"axis {self.name!r}: {layer} is not prepared; netwright.Bits.of(net) makes the axes")
        return set(self.layers)

    def regions(self, index: ModuleIndex) -> Iterable[Region]:
        return []

    def write(self, option: Option, builder: CutBuilder, index: ModuleIndex) -> None:
        if option == FLOAT32:
            return
        for layer in self.layers:
            weight = index.tensors_of[layer]["weight"]
            builder.transform(weight, Rounded.of(index.modules[layer], str(option)))
            builder.set(f"{layer}.{INPUTS}", "precision", option)


def _layers(net: Net) -> list[str]:
    """The paths of all layers that can be rounded, in the order in which they run first."""
    index, ran, folds = net.index, list[str](), foldable(net.module)

    def watch(path: str) -> RemovableHandle:
        return index.modules[path].register_forward_pre_hook(lambda *_: ran.append(path))

    every = Cut(choose=dict.fromkeys(index.menus))
    alone = [path for path in index.modules if _stands_alone(index, path) and not is_folded(f"{path}.", folds)]
    # Whatever is isolated is put back, hooks and what they write into among it: these come after it.
    with isolated(net.module), evaluating(net.module), torch.no_grad(), applied(index, every):
        handles = [watch(path) for path in alone]
        try:
            call(net.module, fresh(net.example_inputs))
        finally:
            for handle in handles:
                handle.remove()
    return list(dict.fromkeys(ran))


def _stands_alone(index: ModuleIndex, path: str) -> bool:
    """Whether a layer can be rounded, and its weight is its own and no function of others."""
    weight = index.tensors_of.get(path, {}).get("weight")
    if weight is None or not can_be_rounded(index.modules[path]):
        return False
    return len(index.owners[weight]) == 1 and not index.made_of(path)


def _constant_ranges(layers: Sequence[nn.Module]) -> bool:
    """Whether runtimes give activations constant ranges: in networks of more convolutions than products."""
    convolutions = sum(map(is_convolution, layers))
    return convolutions > len(layers) - convolutions


def _grouped(index: ModuleIndex, layers: Sequence[str], by: Groups) -> dict[str, list[str]]:
    """The layers that take one precision together, by the name of their choice."""
    if isinstance(by, Mapping):
        for path in (each for group in by.values() for each in group):
            if path not in layers:
                raise NetError(
                    f"by= names {path!r}, which is no layer that can be rounded, or one that is kept in float32 "
                    f"(keep=() keeps none); {did_you_mean(path, layers)}"
                )
        return {name: list(group) for name, group in by.items()}
    names = {
        "layer": lambda path: path,
        "block": lambda path: path.rpartition(".")[0] or path,
        "type": lambda path: _type_of(index.modules[path]),
    }
    if by not in names:
        raise NetError(f"by={by!r} is no way to group layers; {did_you_mean(str(by), names)}, or a mapping of names")
    found: dict[str, list[str]] = {}
    for path in layers:
        found.setdefault(names[by](path), []).append(path)
    return found


def _type_of(layer: Any) -> str:
    """The class of a layer; convolutions that have no products between channels are apart."""
    depthwise = is_convolution(layer) and layer.groups == layer.in_channels > 1
    return f"{'depthwise ' * depthwise}{type(layer).__name__}"
