"""Layers that share their weights over depth, each with its own norms."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...core.errors import NetError
from ..cut import ModuleIndex


@torch.no_grad()
def share_layers(module: nn.Module, layers: Sequence[str]) -> None:
    """Let layers share all their weights but those of norms, in place (Xue et al. 2022, "Go wider instead of deeper",
    WideNet: what goes through the layers differs, and so do its statistics).

    Shared weights are the mean of the layers'. Layers that are alike but for their norms compute what they computed;
    others have to be trained on. A super-network holds the weights once: sizes within the layers are one choice for
    all, and each layer may still be skipped.

    Args:
        module: the network, changed in place.
        layers: paths of layers that are built alike, two or more.

    Raises :class:`NetError` for fewer, and for layers that are not alike.
    """
    index = ModuleIndex(module)
    if len(layers) < 2:
        raise NetError(
            f"layers= takes the paths of two layers or more, such as ['layers.0', 'layers.1'], not {layers!r}"
        )
    owners = [dict(_owners(index.module(path))) for path in layers]
    for path, own in zip(layers[1:], owners[1:], strict=True):
        for name in sorted(owners[0].keys() | own.keys()):
            first, other = owners[0].get(name), own.get(name)
            if _form(first) != _form(other):
                told = [_form(each) or "nothing" for each in (first, other)]
                raise NetError(
                    f"{layers[0]} and {path} are not alike: {name or 'the layer itself'} is {told[0]} in one and "
                    f"{told[1]} in the other; share layers of one kind and size"
                )
    for name, owner in owners[0].items():
        if not _is_norm(owner):
            for parameter, whole in list(owner._parameters.items()):
                if whole is not None:
                    _share([each[name] for each in owners], parameter, whole)


def _owners(layer: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(name, owner) for name, owner in layer.named_modules() if owner._parameters]


def _form(owner: nn.Module | None) -> str:
    if owner is None:
        return ""
    shapes = [f"{own} {tuple(t.shape)}" for own, t in owner._parameters.items() if t is not None]
    return " with ".join([type(owner).__name__, ", ".join(shapes)])


def _is_norm(owner: nn.Module) -> bool:
    """Whether all that a module holds is a number for each channel."""
    held = [t for t in owner._parameters.values() if t is not None]
    return all(t.dim() <= 1 for t in held)


def _share(owners: Sequence[nn.Module], own: str, whole: Tensor) -> None:
    tensors = [owner._parameters[own] for owner in owners]
    mean = torch.stack([t.double() for t in tensors if t is not None]).mean(0)
    whole.copy_(mean)
    for owner in owners[1:]:
        owner._parameters[own] = owners[0]._parameters[own]
