"""The sizes that a network leaves free: batch, length, height and width, found by trying."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..nets.batch import BatchDims, batch_dims_of
from ..nets.inputs import Inputs, call, evaluating, fresh, is_dense, tensors_in
from ..nets.isolation import State
from ..nets.lengths import resized

BATCH = "batch"
FACTORS = (1.5, 0.5, 2.0)
"""By which sizes are changed, in this order; networks with a longest length, or with strides, take but one of them."""
Place = tuple[int, int]
"""An input tensor by its number, and a dimension of it."""


@dataclass(frozen=True)
class Sizes:
    """The free sizes of a network's inputs.

    Args:
        inputs: what the network was tried with.
        names: of every free size: where it stands.
        factors: by which each of them was changed, so that the network ran.
        batch: the batch of every input.
    """

    inputs: Inputs
    names: Mapping[str, tuple[Place, ...]]
    factors: Mapping[str, float]
    batch: BatchDims

    def of(self, tensor: int, free: Collection[str]) -> dict[int, str]:
        """The free dimensions of an input tensor, and their names."""
        return {dim: name for name in free for number, dim in self.names[name] if number == tensor}

    def example(self, free: Collection[str]) -> Inputs:
        """An example for a file in which these sizes are free: exporters take a batch of one for a constant."""
        alone = BATCH in free and self.batch.size(self.inputs) < 2
        return self.batch.join(self.inputs, self.inputs) if alone else self.inputs

    def size(self, name: str, inputs: Inputs) -> int:
        """How much a size is in inputs."""
        tensor, dim = self.names[name][0]
        return list(tensors_in(inputs))[tensor].shape[dim]

    def changed(self, free: Collection[str], only: str = "") -> Inputs:
        """The example with other values for these sizes, or for one of them."""
        factors = {p: self.factors[name] for name in free if only in ("", name) for p in self.names[name]}
        return _resized(self.example(free), factors)


@torch.no_grad()
def find_sizes(network: nn.Module, inputs: Inputs) -> Sizes:
    """Try which sizes of the inputs may be others.

    A size is free if the network runs at half as much again, at half or at twice as much; sizes that only change
    together (those of tokens and of their mask) are one. What is longer than the network reads (a table of positions)
    is not free: more of it changes nothing. The batch comes first; see :mod:`netwright.nets.batch`.

    Args:
        network: left in the mode that it is in.
        inputs: what it is called with.
    """
    batch = batch_dims_of(network, inputs)
    one = batch.part(inputs, 0, 1)
    tensors = list(tensors_in(inputs))
    places = [
        (i, d)
        for i, tensor in enumerate(tensors)
        for d in range(tensor.dim() if is_dense(tensor) else 0)
        if d != batch.inputs[i] and tensor.shape[d] > 1
    ]
    names: dict[str, tuple[Place, ...]] = {}
    factors: dict[str, float] = {}
    if batch:
        names[BATCH] = tuple((i, d) for i, d in enumerate(batch.inputs) if d is not None)
        factors[BATCH] = 1.5
    state = State(network)
    with evaluating(network):
        whole = _outputs(network, state, one, {})
        for group in _groups(places, tensors):
            if any(place in found for found in names.values() for place in group):
                continue
            found = ((f, _outputs(network, state, one, dict.fromkeys(group, f))) for f in FACTORS)
            factor, outputs = next(((f, outputs) for f, outputs in found if outputs is not None), (1.0, None))
            if outputs is not None and not (factor > 1 and _same(outputs, whole)):
                name = _name(group[0], tensors[group[0][0]], names)
                names[name], factors[name] = group, factor
    return Sizes(inputs, names, factors, batch)


def _groups(places: list[Place], tensors: list[Tensor]) -> Iterable[tuple[Place, ...]]:
    """Places of one size that may change together: one of each tensor, all of them, each alone."""
    sizes = {place: tensors[place[0]].shape[place[1]] for place in places}
    for size in dict.fromkeys(sizes.values()):
        alike = [place for place in places if sizes[place] == size]
        ranks = [sum(other[0] == place[0] and other[1] < place[1] for other in alike) for place in alike]
        layers = [tuple(p for p, r in zip(alike, ranks, strict=True) if r == rank) for rank in range(max(ranks) + 1)]
        yield from dict.fromkeys([*layers, tuple(alike), *((place,) for place in alike)])


def _outputs(network: nn.Module, state: State, inputs: Inputs, factors: Mapping[Place, float]) -> list[Tensor] | None:
    """What the network gives for other sizes; None where it raises."""
    tensors = list(tensors_in(inputs))
    if any(tensors[i].shape[dim] * factor < 2 for (i, dim), factor in factors.items()):
        return None  # a size of 1 is a case of its own
    try:
        with state.kept():
            return [t.clone() for t in tensors_in(call(network, fresh(_resized(inputs, factors))))]
    except Exception:  # a person's own code
        return None


def _same(outputs: list[Tensor], others: list[Tensor] | None) -> bool:
    return others is not None and len(outputs) == len(others) and all(map(torch.equal, outputs, others))


def _resized(inputs: Inputs, factors: Mapping[Place, float]) -> Inputs:
    """Inputs whose sizes are multiplied."""
    tensors = list(tensors_in(inputs))
    return resized(inputs, {(i, dim): int(tensors[i].shape[dim] * factor) for (i, dim), factor in factors.items()})


def _name(place: Place, tensor: Tensor, taken: Collection[str]) -> str:
    """``height`` and ``width`` of images (and ``depth`` of volumes), ``length`` of all else."""
    behind = tensor.dim() - place[1]
    image = tensor.dim() > 3 and behind <= min(3, tensor.dim() - 2)
    name = {1: "width", 2: "height", 3: "depth"}[behind] if image else "length"
    numbered = (f"{name}{i or ''}" for i in range(len(taken) + 1))
    return next(each for each in numbered if each not in taken)
