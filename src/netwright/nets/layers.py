"""What a layer's attributes must be once its tensors have another shape.

Axes say which indices of which tensors stay; ``out_channels``, ``num_features`` and their kin follow from the
shapes that remain. This table is the one place that knows how.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]
"""Shapes of a module's own tensors, by their name in the module (``weight``, ``running_mean``, ...)."""

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def _convolution(layer: Any, shapes: Shapes) -> dict[str, Any]:
    out, per_group, *kernel = shapes["weight"]
    groups = layer.groups
    if groups > 1 and per_group == layer.weight.shape[1]:
        # Whole groups were dropped (every channel of a depthwise convolution is a group).
        groups = out * layer.groups // layer.out_channels
    found: dict[str, Any] = {"out_channels": out, "in_channels": per_group * groups, "groups": groups}
    if tuple(kernel) != tuple(layer.kernel_size):
        found["kernel_size"] = tuple(kernel)
    return found


def _transposed(layer: Any, shapes: Shapes) -> dict[str, Any]:
    into, per_group = shapes["weight"][:2]
    groups = layer.groups
    if groups > 1 and per_group == layer.weight.shape[1]:
        groups = into * layer.groups // layer.in_channels  # whole groups were dropped
    return {"in_channels": into, "out_channels": per_group * groups, "groups": groups}


def _linear(layer: nn.Linear, shapes: Shapes) -> dict[str, Any]:
    out, into = shapes["weight"]
    return {"out_features": out, "in_features": into}


def _batch_norm(layer: Any, shapes: Shapes) -> dict[str, Any]:
    name = "weight" if "weight" in shapes else "running_mean"
    return {"num_features": shapes[name][0]} if name in shapes else {}


def _layer_norm(layer: nn.LayerNorm | nn.RMSNorm, shapes: Shapes) -> dict[str, Any]:
    return {"normalized_shape": tuple(shapes["weight"])}


def _embedding(layer: nn.Embedding, shapes: Shapes) -> dict[str, Any]:
    rows, size = shapes["weight"]
    return {"num_embeddings": rows, "embedding_dim": size}


def _group_norm(layer: nn.GroupNorm, shapes: Shapes) -> dict[str, Any]:
    channels = shapes["weight"][0]
    groups = max(1, channels * layer.num_groups // layer.num_channels)
    return {"num_channels": channels, "num_groups": groups}


def _prelu(layer: nn.PReLU, shapes: Shapes) -> dict[str, Any]:
    return {"num_parameters": shapes["weight"][0]}


def _recurrent(layer: nn.RNNBase, shapes: Shapes) -> dict[str, Any]:
    gates = {"LSTM": 4, "GRU": 3}.get(layer.mode, 1)
    sizes = {"input_size": shapes["weight_ih_l0"][1], "hidden_size": shapes["weight_hh_l0"][0] // gates}
    return sizes | ({"proj_size": shapes["weight_hh_l0"][1]} if layer.proj_size else {})


_FOLLOWERS: tuple[tuple[tuple[type, ...], Callable[[Any, Shapes], dict[str, Any]]], ...] = (
    (CONVOLUTIONS, _convolution),
    (TRANSPOSED, _transposed),
    ((nn.Linear,), _linear),
    (BATCH_NORMS, _batch_norm),
    ((nn.LayerNorm, nn.RMSNorm), _layer_norm),
    ((nn.Embedding,), _embedding),
    ((nn.GroupNorm,), _group_norm),
    ((nn.PReLU,), _prelu),
    ((nn.RNNBase,), _recurrent),
)


def _transposed_linear(layer: Any, shapes: Shapes) -> dict[str, Any]:
    into, out = shapes["weight"]
    return {"nx": into, "nf": out}


def is_transposed_linear(layer: nn.Module) -> bool:
    """Whether this is transformers' linear layer of GPT-2, whose weight is (inputs, outputs)."""
    return type(layer).__name__ == "Conv1D" and hasattr(layer, "nf")


def is_convolution(layer: nn.Module) -> bool:
    """Whether this is a convolution, transposed or not."""
    return isinstance(layer, (*CONVOLUTIONS, *TRANSPOSED))


def is_linear(layer: nn.Module) -> bool:
    """Whether this is a linear layer, whichever way its weight lies."""
    return isinstance(layer, nn.Linear) or is_transposed_linear(layer)


def follows(layer: nn.Module) -> bool:
    """Whether this table knows the layer, so that its attributes follow from its tensors."""
    return is_transposed_linear(layer) or any(isinstance(layer, types) for types, _ in _FOLLOWERS)


def _makes_its_weight(layer: nn.Module) -> bool:
    """Whether a layer makes its weight of other tensors (weight_norm, in its new form or its old one)."""
    return hasattr(layer, "parametrizations") or "weight" in vars(layer)


def attributes(layer: nn.Module, shapes: Shapes) -> dict[str, Any]:
    """The attributes of ``layer`` that differ from today's once its tensors have these shapes."""
    if is_transposed_linear(layer):
        return {k: v for k, v in _transposed_linear(layer, shapes).items() if getattr(layer, k, v) != v}
    for types, follow in _FOLLOWERS:
        if isinstance(layer, types) and ("weight" in shapes or not _makes_its_weight(layer)):
            return {k: v for k, v in follow(layer, shapes).items() if getattr(layer, k) != v}
    return {}


def echoes(layer: nn.Module) -> dict[str, Any]:
    """Attributes in which a layer keeps its own tensors a second time, with the tensors that it has now."""
    if isinstance(layer, nn.RNNBase):
        return {"_flat_weights": [getattr(layer, name) for name in layer._flat_weights_names]}
    return {}
