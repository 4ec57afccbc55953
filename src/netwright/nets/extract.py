"""Extraction: the slices copied into a plain, stand-alone module of the model's own classes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import NetError, one_line
from .cut import Anatomy, Cut, stand_in


def copied(name: str, piece: Tensor) -> Tensor:
    """A slice as a tensor of its own, in torch's default layout (exporters write slower graphs for others)."""
    return piece.detach().clone(memory_format=torch.contiguous_format)


def extract(anatomy: Anatomy, cut: Cut, part: Callable[[str, Tensor], Tensor] = copied) -> nn.Module:
    """A copy of the network that holds only what the cut keeps.

    Skipped modules are ``nn.Identity``, or :class:`~netwright.nets.cut.Skip` where they take several arguments.
    ``part`` makes the copy of each kept slice, given its tensor's name; every tensor goes through it.

    Raises :class:`NetError` for a network that cannot be copied, or that copies itself in a way of its own.
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
    network = _deepcopied(anatomy, memo)
    _check_pieces(anatomy, cut, memo, network)
    for name in cut.absent:
        for path in anatomy.owners[name]:
            if not cut.skips(path):
                own = next(own for own, tensor in anatomy.tensors_of[path].items() if tensor == name)
                network.get_submodule(path)._parameters.pop(own, None)
    for path, values in cut.set.items():
        if not cut.skips(path):
            network.get_submodule(path).__dict__.update(copy.deepcopy(dict(values)))
    return network


def _deepcopied(anatomy: Anatomy, memo: dict[int, Any]) -> nn.Module:
    """A copy of the network in which the memo's values stand for what it names."""
    try:
        return copy.deepcopy(anatomy.root, dict(memo))
    except Exception:  # deepcopy refuses tensors that hang on a graph: old-style weight_norm, kept activations
        held = (value for module in anatomy.modules.values() for value in _values(vars(module)))
        memo = memo | {id(t): copied("", t) for t in held if isinstance(t, Tensor) and not t.is_leaf}
    try:
        return copy.deepcopy(anatomy.root, memo)
    except Exception as error:
        raise NetError(
            f"the network cannot be copied: {one_line(error)}; keep what cannot be copied (locks, files, tensors that "
            "hang on a graph) out of the module's attributes"
        ) from error


def _values(attributes: dict[str, Any]) -> Iterator[Any]:
    """A module's attributes, and what lists, tuples and dicts among them hold."""
    for value in attributes.values():
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
        yield from (value, *inner)


def _check_pieces(anatomy: Anatomy, cut: Cut, memo: dict[int, Any], network: nn.Module) -> None:
    """Refuse a network that holds other parameters than those made for it."""
    for path, tensors in anatomy.tensors_of.items():
        if cut.skips(path):
            continue
        held = network.get_submodule(path)._parameters
        for own, name in tensors.items():
            if held.get(own) is not None and held[own] is not memo[id(anatomy.tensor(name))]:
                raise NetError(
                    f"{path or 'the network'} makes {own} anew when it is copied; let its __deepcopy__ copy its "
                    "attributes with copy.deepcopy(value, memo), or give it none"
                )
