"""Where a network's layers are in a file: found by their weights, whatever an exporter calls them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from torch import nn

from ..core.errors import BundleError
from ..nets.precisions.registry import FLOAT32, INT8
from ..nets.rounding import output_dim, roundings

CLOSE = 1e-4
"""How far weights of one layer may be apart, relative to the largest of their channel: exporters merge normalisation,
which is a factor for each channel, and round."""


def precisions_in(network: nn.Module, nodes: Mapping[str, np.ndarray]) -> dict[str, str]:
    """The precision of each product with weights in a file of a network: that of the layer whose weights it has, and
    float32 where that has no other.

    Args:
        network: the network that the file was written of, with layers of several precisions.
        nodes: the weights of each product, by the name of the operator, in the order of the file; the first dimension
            is the output channels.

    Raises :class:`BundleError` for a layer of another precision than float32 that is not found, and for layers of
    the same weights and several precisions, of which nothing tells which is which.
    """
    found = dict.fromkeys(nodes, FLOAT32)
    free = {name: _normalised(weight) for name, weight in nodes.items()}
    layers = {path: (own.precision, _normalised(_weight(network, path))) for path, own in roundings(network).items()}
    while layers:
        precision, weight = next(iter(layers.values()))
        alike = [other for other, (_, own) in layers.items() if _same(own, weight)]
        there = [name for name, own in free.items() if _same(own, weight)]
        wanted = {layers[other][0]: None for other in alike}
        if len(wanted) > 1 or not (there or precision == FLOAT32):
            fix = "give them the same precision" if len(wanted) > 1 else "keep them in float32"
            raise BundleError(
                f"{', '.join(alike)} cannot be found in the file by their weights ({len(there)} operators have them), "
                f"so that they cannot take {', '.join(wanted)} there; {fix}"
            )
        found.update(dict.fromkeys(there, precision))
        layers = {other: held for other, held in layers.items() if other not in alike}
        free = {name: own for name, own in free.items() if name not in there}
    return found


def left_in_float32(
    operators: Iterable[tuple[str, Iterable[str], Iterable[str]]], precisions: Mapping[str, str]
) -> list[str] | None:
    """The operators of a file whose results are not in 8 bits; None where none is.

    A product is in 8 bits where its layer is. What has no weights follows what it is given: where no operator
    before it is in 8 bits, it is not either.

    Args:
        operators: the name of each, and those of the tensors that it takes and gives, in the order in which they run.
        precisions: see :func:`precisions_in`.
    """
    if INT8 not in precisions.values():
        return None
    if {*precisions.values()} == {INT8}:
        return []
    quantised: set[str] = set()
    left = []
    for name, takes, gives in operators:
        own = precisions.get(name)
        if own not in (None, INT8) or (own is None and quantised.isdisjoint(takes)):
            left.append(name)
        else:
            quantised.update(gives)
    return left


def _weight(network: nn.Module, path: str) -> np.ndarray:
    layer: Any = network.get_submodule(path)
    weight: np.ndarray = layer.weight.detach().numpy(force=True)
    return channels_first(weight, getattr(layer, "groups", 1)) if output_dim(layer) else weight


def channels_first(weight: np.ndarray, groups: int = 1) -> np.ndarray:
    """A weight of shape (inputs, outputs / groups, ...) as (outputs, inputs / groups, ...): merged normalisation has a
    factor for each output."""
    parts = weight.reshape(groups, len(weight) // groups, *weight.shape[1:]).swapaxes(1, 2)
    return parts.reshape(-1, *parts.shape[2:])


def _normalised(weight: np.ndarray) -> np.ndarray:
    """A weight as a matrix (channels, numbers), each row divided by the largest of its absolute numbers."""
    rows = weight.reshape(len(weight), -1).astype(np.float32)
    largest = np.abs(rows).max(axis=1, keepdims=True, initial=0)
    return rows / np.where(largest == 0, 1, largest)


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether weights are the same but for a factor of each channel, which may be below 0."""
    if one.shape != other.shape:
        return False
    apart = (np.abs(one + sign * other).max(axis=1, initial=0) for sign in (-1, 1))
    return bool((np.minimum(*apart) <= CLOSE).all())
