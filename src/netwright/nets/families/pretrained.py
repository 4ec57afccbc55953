"""What the families on models of the ``transformers`` library share: axes for their layers, configs that stay true."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ...core.candidate import Candidate, Option
from ...core.errors import NetError
from ..axes import Attribute, Axis, Depth, Heads, TiedAxes, Width, fractions
from ..cut import ModuleIndex
from ..inputs import Inputs
from ..stand_ins import Skip
from ..supernet import SuperNet

Counts = tuple[tuple[str, str], ...]
"""(module, attribute) pairs."""


@dataclass(frozen=True)
class Family:
    """Where the models of a family keep what can be cut, as of transformers 5.23.

    Args:
        kinds: names of the classes from which its models derive, one of them each.
        examples: names of some of its models, for errors.
        layers: path of the list of layers in the base model. All other paths are within a layer.
        query, key, value, out: the linear layers of self-attention.
        expand: the linear layers that make the hidden channels of the FFN.
        contract: the one that reads them.
        head_size: the attribute that holds the channels of a head.
        head_counts, head_sums, ffn_counts: attributes that hold the number of heads, of the channels of all heads,
            and of the FFN's hidden channels.
        config_heads: whether the config can say that heads were cut.
    """

    kinds: tuple[str, ...]
    examples: str
    layers: str
    query: str
    key: str
    value: str
    out: str
    expand: tuple[str, ...]
    contract: str
    head_size: tuple[str, str]
    head_counts: Counts = ()
    head_sums: Counts = ()
    ffn_counts: Counts = ()
    config_heads: bool = True


@dataclass(frozen=True)
class Stack:
    """The layers of one model.

    Args:
        model: the model.
        family: its family.
        base: path of the base model, without the heads for tasks; empty where the model is that.
    """

    model: Any
    family: Family
    base: str

    @classmethod
    def of(cls, model: nn.Module, family: Family) -> Stack:
        """Find them; :class:`NetError` for a model of another family."""
        if not {kind.__name__ for kind in type(model).__mro__} & set(family.kinds):
            raise NetError(
                f"{type(model).__name__} is not a model of this family, which has {family.examples} of transformers; "
                "netwright.wrap(model, example_inputs) finds the axes of other models"
            )
        core = model.base_model
        return cls(model, family, next(path for path, module in model.named_modules() if module is core))

    @property
    def layers(self) -> tuple[str, ...]:
        """The paths of the layers, in the order in which they run."""
        held = ModuleIndex(self.model).module(self.path(self.family.layers))
        return tuple(f"{self.path(self.family.layers)}.{own}" for own in held._modules)

    def path(self, own: str) -> str:
        """The path in the model of a module of the base model."""
        return f"{self.base}.{own}" if self.base else own

    def axes(
        self,
        depths: Iterable[int] | None,
        heads: Iterable[float],
        ffn: Iterable[float],
        per_layer: bool,
        round_to: int,
    ) -> list[Axis]:
        """Depth, and heads and FFN size of each layer, or of all of them alike; see :func:`~.vit.vit`."""
        layers, heads, ffn = self.layers, tuple(heads), tuple(ffn)
        whole = len(layers)
        depth = Depth("depth", layers, tuple(range(max(1, whole // 2), whole + 1) if depths is None else depths))
        parts = {
            "heads": [self._heads(layer, heads) for layer in layers],
            "ffn": [[self._ffn(layer, ffn, round_to)] for layer in layers],
        }
        if not per_layer:
            return [depth, *(_joined(kind, [a for layer in found for a in layer]) for kind, found in parts.items())]
        return [depth, *(_joined(f"layer{i}.{kind}", parts[kind][i]) for i in range(whole) for kind in parts)]

    def _heads(self, layer: str, shares: Iterable[float]) -> list[Axis]:
        family = self.family
        module, attribute = family.head_size
        size = getattr(self.model.get_submodule(f"{layer}.{module}"), attribute)
        groups = self.model.get_submodule(f"{layer}.{family.key}").out_features // size
        axis = Heads.of(
            self.model,
            f"{layer}.heads",
            fractions(groups, shares, 1, "heads"),
            size=size,
            query=f"{layer}.{family.query}",
            key=f"{layer}.{family.key}",
            value=f"{layer}.{family.value}",
            out=f"{layer}.{family.out}",
            size_attributes=_within(layer, family.head_counts),
        )
        sums = _within(layer, family.head_sums)
        return [axis, *([Attribute(f"{layer}.channels", sums, tuple(size * o for o in axis.options))] if sums else [])]

    def _ffn(self, layer: str, shares: Iterable[float], round_to: int) -> Axis:
        family = self.family
        into = f"{layer}.{family.contract}"
        whole: Any = self.model.get_submodule(into).in_features
        options = fractions(whole, shares, round_to, "ffn")
        out_of = [f"{layer}.{own}" for own in family.expand]
        width = Width.tie(self.model, f"{layer}.ffn", options, out_of=out_of, into=[into])
        return replace(width, size_attributes=_within(layer, family.ffn_counts))


class Pretrained(SuperNet):
    """A super-network on a model of ``transformers``, whose tensors keep their names.

    An extracted network is a model of the same class, without the layers that the candidate skips, and with a config
    of its own that says what it is as far as a config can: number of layers, hidden size, and the heads and FFN size
    that all layers have in common. Where they differ from layer to layer the config names those of the whole network;
    ``save_pretrained`` then raises, since ``from_pretrained`` would read another network, and the network is kept as a
    bundle (:func:`netwright.export`).
    """

    def __init__(self, stack: Stack, axes: Iterable[Axis], example_inputs: Inputs) -> None:
        self._stack = stack
        axes = tuple(axes)
        self._left_out = tuple(axis for axis in axes if len(axis.options) == 1)
        super().__init__(stack.model, [axis for axis in axes if len(axis.options) > 1], example_inputs)

    def extract(self, candidate: Candidate | Mapping[str, Option]) -> nn.Module:
        network: Any = super().extract(candidate)
        layers = network.get_submodule(self._stack.path(self._stack.family.layers))
        del layers[sum(not isinstance(layer, Skip) for layer in layers) :]
        for name, value in _told(layers, self._stack.family, network.config).items():
            setattr(network.config, name, value)
        return network


def _told(layers: nn.ModuleList, family: Family, config: Any) -> dict[str, Any]:
    """What a config can say of these layers."""

    def common(own: str, attribute: str) -> Any:
        sizes = {getattr(layer.get_submodule(own), attribute) for layer in layers}
        return sizes.pop() if len(sizes) == 1 else None

    size = common(*family.head_size)
    hidden, queries = common(family.query, "in_features"), common(family.query, "out_features")
    told = {
        "num_hidden_layers": len(layers),
        "hidden_size": hidden,
        "intermediate_size": common(family.contract, "in_features"),
    }
    if family.config_heads and size and queries:
        told["num_attention_heads"] = queries // size
        if hasattr(config, "num_key_value_heads"):
            told["num_key_value_heads"] = common(family.key, "out_features") // size
        if hasattr(config, "head_dim") or hidden != queries:
            told["head_dim"] = size
    if getattr(config, "layer_types", None):
        told["layer_types"] = config.layer_types[: len(layers)]
    return {name: value for name, value in told.items() if value is not None}


def a_text(model: nn.Module, length: int | None) -> Tensor:
    """Ids of one text of so many different tokens, by default 128 or as many as the model takes, of shape (1, n).

    Raises :class:`NetError` for a length that the model does not take.
    """
    config: Any = model.config
    most = config.max_position_embeddings
    if length is not None and (type(length) is not int or not 1 <= length <= most):
        raise NetError(f"length= is a number of tokens from 1 to the {most} that the model takes, not {length!r}")
    return (torch.arange(length or min(128, most), device=home(model)) % config.vocab_size)[None]


def check_length(example_inputs: Inputs | None, length: int | None) -> None:
    """Refuse a length that would not be used."""
    if example_inputs is not None and length is not None:
        raise NetError("give example_inputs or length=, which is that of the example made without them; not both")


def home(model: nn.Module) -> torch.device:
    """Where a model's inputs lie; for a model without data, where they have some."""
    device = next(model.parameters()).device
    return torch.device("cpu") if device.type == "meta" else device


def _within(layer: str, pairs: Counts) -> Counts:
    return tuple((f"{layer}.{module}", attribute) for module, attribute in pairs)


def _joined(name: str, axes: list[Axis]) -> Axis:
    """One choice for all these axes, which have as many options each."""
    if len(axes) == 1:
        return replace(axes[0], name=name)  # type: ignore[type-var]
    return TiedAxes(name, axes[0].options, tuple((axis, axis.options) for axis in axes))
