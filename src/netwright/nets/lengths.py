"""Inputs of other sizes than the example's that a network takes as well: shorter and longer sequences, other images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import chain

import torch
from torch import Tensor

from .inputs import Inputs, each_tensor, is_dense, tensors_in

Lengths = Mapping[tuple[int, int], int]
"""What some dimensions become, by the tensor's place among the inputs and the dimension."""


def resized(inputs: Inputs, lengths: Lengths) -> Inputs:
    """The inputs with some dimensions narrowed, or filled by repetition of what there is."""
    count = iter(range(sum(1 for _ in tensors_in(inputs))))

    def changed(tensor: Tensor) -> Tensor:
        at = next(count)
        for dim in (dim for dim in range(tensor.dim()) if (at, dim) in lengths):
            size = lengths[at, dim]
            if size != tensor.shape[dim]:
                times = -(-size // tensor.shape[dim])
                tensor = torch.cat([tensor] * times, dim).narrow(dim, 0, size)
        return tensor

    return each_tensor(inputs, changed) if lengths else inputs


def describe(inputs: Inputs, lengths: Lengths) -> str:
    """In words, for the first dimension that changes."""
    (at, dim), size = min(lengths.items())
    was = list(tensors_in(inputs))[at].shape[dim]
    return f"where the inputs have another size ({size} for {was} in dimension {dim} of input {at})"


def other_lengths(inputs: Inputs, change: Callable[[int], tuple[int, ...]], runs: Callable[[Lengths], bool]) -> Lengths:
    """Lengths of as many dimensions of the inputs as the network takes changed: found by trying.

    Dimensions of one size change together, and where that is not taken, those of them that have one place in their
    tensors. The first dimension of the first tensor, most often the batch, changes only where nothing else does.

    Args:
        inputs: the example's.
        change: what a size may become, the first choice first: :func:`smaller`, :func:`larger`.
        runs: whether the network takes inputs of given sizes.
    """
    places: dict[int, list[tuple[int, int]]] = {}
    for at, tensor in enumerate(tensors_in(inputs)):
        if is_dense(tensor):
            for dim, size in enumerate(tensor.shape):
                if size > 1:
                    places.setdefault(size, []).append((at, dim))
    found: dict[tuple[int, int], int] = {}
    for size in sorted(places, key=lambda size: ((0, 0) in places[size], -size)):
        together = places[size]
        if found and (0, 0) in together:
            continue
        apart = [[place for place in together if place[1] == dim] for dim in {dim for _, dim in together}]
        trials = (
            dict.fromkeys(group, other)
            for group in chain([together], apart if len(apart) > 1 else [])
            for other in change(size)
        )
        found |= next((trial for trial in trials if runs(found | trial)), {})
    return found


def smaller(size: int) -> tuple[int, ...]:
    """Half of a size, or one less."""
    return tuple(dict.fromkeys((size // 2, size - 1)))


def larger(size: int) -> tuple[int, ...]:
    """Twice a size, or one more."""
    return 2 * size, size + 1
