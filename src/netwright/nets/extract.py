"""Extraction: the slices copied into a plain, stand-alone module of the model's own classes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .cut import Anatomy, Cut, stand_in


def copied(name: str, piece: Tensor) -> Tensor:
    """A slice as a tensor of its own, in torch's default layout (exporters write slower graphs for others)."""
    return piece.detach().clone(memory_format=torch.contiguous_format)


def extract(anatomy: Anatomy, cut: Cut, part: Callable[[str, Tensor], Tensor] = copied) -> nn.Module:
    """A copy of the network that holds only what the cut keeps.

    Skipped modules are ``nn.Identity``, or :class:`~netwright.nets.cut.Skip` where they take several arguments.
    ``part`` makes the copy of each kept slice, given its tensor's name; every tensor goes through it.
    """
    # deepcopy looks up what it was already told: the slices stand in for the whole tensors, which are never copied,
    # and tied tensors and shared modules stay tied and shared.
    modules = anatomy.modules
    memo: dict[int, Any] = {id(modules[path]): stand_in(modules[path], gives) for path, gives in cut.skip.items()}
    for name in anatomy.shapes:
        whole = anatomy.tensor(name)
        if name in cut.absent:
            memo[id(whole)] = None
        elif not all(cut.skips(owner) for owner in anatomy.owners[name]):
            piece = part(name, cut.part(name, anatomy.tensor))
            memo[id(whole)] = nn.Parameter(piece, whole.requires_grad) if isinstance(whole, nn.Parameter) else piece
    network = copy.deepcopy(anatomy.root, memo)
    for name in cut.absent:
        for path in anatomy.owners[name]:
            if not cut.skips(path):
                own = next(own for own, tensor in anatomy.tensors_of[path].items() if tensor == name)
                network.get_submodule(path)._parameters.pop(own, None)
    for path, values in cut.set.items():
        if not cut.skips(path):
            network.get_submodule(path).__dict__.update(copy.deepcopy(dict(values)))
    return network
