"""What a sharing is: further sets of weights, and which of them each sub-network is made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Mapping

import torch
from torch import nn

from ..core.candidate import Option
from ..core.errors import NetError
from .cut import CutBuilder, ModuleIndex
from .transforms import Transform


class Sharing(ABC):
    """How sub-networks share weights beyond one set: what is added to every cut when all axes have written theirs.

    The further sets are parameters of the network itself, beside those that they are other sets of, and are cut as
    these are. The network's own are those of the largest sub-network, which stays the network as it is. Counts,
    extraction and export see a sub-network's tensors alone.
    """

    @abstractmethod
    def write(self, options: Mapping[str, Option], builder: CutBuilder, index: ModuleIndex) -> None:
        """Add what is made of several sets.

        Args:
            options: by choice; a choice that is not named is whole, or has no meaning.
            builder: holds what the axes have written.
            index: of the network.
        """

    @abstractmethod
    def transforms(self, index: ModuleIndex) -> Mapping[str, frozenset[Transform]]:
        """By tensor, what it may be made by."""

    def version(self, index: ModuleIndex) -> Hashable:
        """What cuts follow from besides the options; one that was made for another version is made anew."""
        return ()


def shared_tensors(index: ModuleIndex) -> Iterator[str]:
    """The parameters of which there may be several sets: those of numbers that learn."""
    for name in index.parameters:
        tensor = index.tensor(name)
        if tensor.is_floating_point() and tensor.requires_grad:
            yield name


def set_name(tensor: str, number: int) -> str:
    """The name of a set of a tensor: the first, of number 0, is the tensor itself."""
    return f"{tensor}_set{number}" if number else tensor


def add_parameter(index: ModuleIndex, beside: str, end: str, values: torch.Tensor) -> None:
    """Give the layer that has a tensor another parameter, whose name begins with the tensor's."""
    owner = index.owners[beside][0]
    own = beside.removeprefix(f"{owner}.") + end
    if own in index.tensors_of[owner]:
        raise NetError(f"{owner or 'the network'} has a tensor {own!r} already; give it another name")
    index.modules[owner].register_parameter(own, nn.Parameter(values))
