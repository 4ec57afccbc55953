"""What the families on models of the ``transformers`` library share: axes for their layers, configs that stay true."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from ...core.candidate import Candidate, Option
from ...core.errors import NetError
from ..axes import Attribute, Axis, Depth, Heads, Part, Parts, TiedAxes, Width, fractions
from ..cut import Cut, ModuleIndex
from ..inputs import Inputs
from ..layers import is_transposed_linear
from ..stand_ins import Computed, Instead, Passthrough, Skip
from ..supernet import SuperNet

Counts = tuple[tuple[str, str], ...]
"""(module, attribute) pairs."""

Pieces = tuple[tuple[str, Passthrough], ...]
"""Modules of a layer that are left out together, the one that computes last, and what is given in the place of each."""

ATTENTION, MLP = "attention", "mlp"
"""What the parts of a layer are called where a config says that they are left out (``skip``)."""


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
        config_ffn: what the config calls the FFN's hidden channels.
        parts: what leaves attention and FFN out of a layer, by what they are called; see :data:`ATTENTION`.
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
    config_ffn: str = "intermediate_size"
    parts: Mapping[str, Pieces] = field(default_factory=dict)

    def has(self, model: nn.Module) -> bool:
        """Whether a model is of this family."""
        return bool({kind.__name__ for kind in type(model).__mro__} & set(self.kinds))


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
    def of(cls, model: nn.Module, *families: Family) -> Stack:
        """Find them; :class:`NetError` for a model of none of these families."""
        family = next((each for each in families if each.has(model)), None)
        if family is None:
            raise NetError(
                f"{type(model).__name__} is not a model of this family, which has {families[0].examples} of "
                "transformers; netwright.wrap(model, example_inputs) finds the axes of other models"
            )
        core: Any = model.base_model
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
        parts: bool = False,
    ) -> list[Axis]:
        """Depth, and heads and FFN size of each layer, or of all of them alike; see :func:`~.decoder.decoder`."""
        layers, heads, ffn = self.layers, tuple(heads), tuple(ffn)
        whole = len(layers)
        depth = Depth("depth", layers, tuple(range(max(1, whole // 2), whole + 1) if depths is None else depths))
        sizes = {
            "heads": [self._heads(layer, heads) if self._has(layer, ATTENTION) else [] for layer in layers],
            "ffn": [[self._ffn(layer, ffn, round_to)] if self._has(layer, MLP) else [] for layer in layers],
        }
        first = [depth, *(self._parts(per_layer) if parts else ())]
        if not per_layer:
            return [*first, *(_joined(kind, [a for layer in found for a in layer]) for kind, found in sizes.items())]
        several = ((f"layer{i}.{kind}", sizes[kind][i]) for i in range(whole) for kind in sizes)
        return [*first, *(_joined(name, axes) for name, axes in several if axes)]

    def _has(self, layer: str, part: str) -> bool:
        """Whether a layer has a part, which an earlier cut may have left out."""
        return part not in missing_parts(self.model.get_submodule(layer), self.family)

    def _heads(self, layer: str, shares: Iterable[float]) -> list[Axis]:
        family = self.family
        module, attribute = family.head_size
        size = getattr(self.model.get_submodule(f"{layer}.{module}"), attribute)
        groups = _heads_of(self.model.get_submodule(layer), family, family.key)
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
        whole = _channels(self.model.get_submodule(into))[0]
        options = fractions(whole, shares, round_to, "ffn")
        out_of = [f"{layer}.{own}" for own in family.expand]
        width = Width.tie(self.model, f"{layer}.ffn", options, out_of=out_of, into=[into])
        return replace(width, size_attributes=_within(layer, family.ffn_counts))

    def _parts(self, per_layer: bool) -> list[Axis]:
        """Attention and FFN left out: each of each layer, or those of the last layers."""
        found = {
            (i, name): Part(
                f"{layer}.{pieces[-1][0]}", tuple((f"{layer}.{own}", Instead(given)) for own, given in pieces)
            )
            for i, layer in enumerate(self.layers)
            for name, pieces in self.family.parts.items()
            if self._has(layer, name)
        }
        if per_layer:
            return [Parts(f"layer{i}.{name}", (part,), (0, 1)) for (i, name), part in found.items()]
        kinds = {name: tuple(part for (_, own), part in found.items() if own == name) for name in self.family.parts}
        return [Parts(f"{name}s", own, tuple(range(len(own) // 2, len(own) + 1))) for name, own in kinds.items() if own]


class Pretrained(SuperNet):
    """A super-network on a model of ``transformers``, whose tensors keep their names.

    An extracted network is a model of the same class, without the layers that the candidate skips, and with a config
    of its own that says what it is as far as a config can: number of layers, hidden size, and the heads and FFN size
    that all layers have in common. Where they differ from layer to layer the config names those of the whole network;
    ``save_pretrained`` then raises, since ``from_pretrained`` would read another network, and
    :func:`netwright.export` writes it with ``formats=["transformers"]``, each layer's config with it.

    Attentions are numbered in the order in which they run, for the cache of keys and values: it is right whichever
    layers are left out.
    """

    def __init__(self, stack: Stack, axes: Iterable[Axis], example_inputs: Inputs) -> None:
        self._stack = stack
        axes = tuple(axes)
        self._left_out = tuple(axis for axis in axes if len(axis.options) == 1)
        several = len(set(getattr(stack.model.config, "layer_types", None) or ())) > 1
        if several and any(map(_leaves_gaps, axes)):
            raise NetError(
                "the layers of this model have several kinds of attention (layer_types in its config), each with a "
                "cache of its own: only the last layers can be left out"
            )
        super().__init__(stack.model, [axis for axis in axes if len(axis.options) > 1], example_inputs)

    def with_axes(self, axes: Iterable[Axis]) -> SuperNet:
        if self.sharing:
            raise NetError("choose the axes before the weights are shared in several sets")
        return Pretrained(self._stack, axes, self.example_inputs)

    def cut_of(self, options: Mapping[str, Option]) -> Cut:
        cut = super().cut_of(options)
        own = self._stack.family.head_size[0]
        places = {path: self.module.get_submodule(path) for path in (f"{layer}.{own}" for layer in self._stack.layers)}
        running = [path for path, module in places.items() if hasattr(module, "layer_idx") and not cut.skips(path)]
        moved = {path: at for at, path in enumerate(running) if places[path].layer_idx not in (None, at)}
        return replace(cut, set={**cut.set, **{p: {**cut.set.get(p, {}), "layer_idx": at} for p, at in moved.items()}})

    def extract(self, candidate: Candidate | Mapping[str, Option]) -> nn.Module:
        network: Any = super().extract(candidate)
        layers = network.get_submodule(self._stack.path(self._stack.family.layers))
        kept = [i for i, layer in enumerate(layers) if not isinstance(layer, Skip)]
        layers._modules = {str(new): layers[i] for new, i in enumerate(kept)}
        config = network.config
        if getattr(config, "layer_types", None):
            config.layer_types = [config.layer_types[i] for i in kept]
        for name, value in config_numbers(layers, self._stack.family, config).items():
            setattr(config, name, value)
        return network


def _leaves_gaps(axis: Axis) -> bool:
    """Whether an axis leaves out other attentions than those of the last layers."""
    return isinstance(axis, Parts) or (isinstance(axis, Depth) and axis.order != axis.blocks)


def missing_parts(layer: nn.Module, family: Family) -> list[str]:
    """The parts that were left out of a layer, by what they are called."""
    return [n for n, pieces in family.parts.items() if isinstance(layer.get_submodule(pieces[-1][0]), Computed)]


def layer_config(layer: nn.Module, family: Family) -> dict[str, Any]:
    """What a layer's own config says of an extracted network's layer: heads, FFN size and, under ``skip``, what it has
    not."""
    skip = missing_parts(layer, family)
    told: dict[str, Any] = {"skip": skip} if skip else {}
    if ATTENTION not in skip:
        told["num_attention_heads"] = _heads_of(layer, family, family.query)
        told["num_key_value_heads"] = _heads_of(layer, family, family.key)
    if MLP not in skip:
        told[family.config_ffn] = _channels(layer.get_submodule(family.contract))[0]
    return told


def _heads_of(layer: nn.Module, family: Family, path: str) -> int:
    """How many heads one of a layer's linear layers makes."""
    module, attribute = family.head_size
    size = getattr(layer.get_submodule(module), attribute)
    return _channels(layer.get_submodule(path))[1] // (3 * size if family.query == family.key else size)


def _channels(layer: Any) -> tuple[int, int]:
    """What a linear layer reads, and what it makes."""
    return (layer.nx, layer.nf) if is_transposed_linear(layer) else (layer.in_features, layer.out_features)


def config_numbers(layers: Iterable[nn.Module], family: Family, config: Any) -> dict[str, Any]:
    """What a config can say of these layers."""
    layers = list(layers)
    each = [layer_config(layer, family) for layer in layers]

    def common(name: str) -> Any:
        sizes = {own[name] for own in each if name in own}
        return sizes.pop() if len(sizes) == 1 else None

    told = {"num_hidden_layers": len(layers), family.config_ffn: common(family.config_ffn)}
    attending = [layer for layer, own in zip(layers, each, strict=True) if ATTENTION not in own.get("skip", ())]
    if attending:
        told["hidden_size"] = hidden = _channels(attending[0].get_submodule(family.query))[0]
        module, attribute = family.head_size
        size, heads = getattr(attending[0].get_submodule(module), attribute), common("num_attention_heads")
        if family.config_heads and heads:
            told["num_attention_heads"] = heads
            if hasattr(config, "num_key_value_heads"):
                told["num_key_value_heads"] = common("num_key_value_heads")
            if hasattr(config, "head_dim") or hidden != heads * size:
                told["head_dim"] = size
    return {name: value for name, value in told.items() if value is not None}


def a_text(model: nn.Module, length: int | None) -> Tensor:
    """Ids of one text of so many different tokens, by default 128 or as many as the model takes, of shape (1, n).

    Raises :class:`NetError` for a length that the model does not take.
    """
    config: Any = model.config
    most = config.max_position_embeddings
    for path, module in model.named_modules():
        if path.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            most -= int(module.padding_idx) + 1  # RoBERTa's positions begin behind that of padding
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
