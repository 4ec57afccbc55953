"""Labelled tensors in memory, and batches of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.errors import NetwrightError
from ..nets.isolation import seeded

JUDGED = 128
"""Examples of a batch where networks only run: more of them do not stay in a processor's caches, and take memory."""


@dataclass(frozen=True)
class Part:
    """Inputs and labels of one part of the data.

    Args:
        inputs: of shape (n, ...).
        labels: class indices, int64 of shape (n,).
    """

    inputs: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        for what, values in (("inputs", self.inputs), ("labels", self.labels)):
            if not isinstance(values, Tensor):
                raise NetwrightError(
                    f"the {what} of a part must be a torch tensor, not a {type(values).__name__}; "
                    "torch.from_numpy() makes one of an array"
                )
        if len(self.inputs) != len(self.labels) or not len(self.labels):
            raise NetwrightError(f"a part of the data has {len(self.inputs)} inputs and {len(self.labels)} labels")
        if self.labels.dtype != torch.int64 or self.labels.dim() != 1:
            raise NetwrightError(
                f"labels must be class indices, int64 of shape ({len(self.labels)},), not {self.labels.dtype} of shape "
                f"{tuple(self.labels.shape)}; try labels.long().flatten()"
            )
        if self.labels.min() < 0:
            raise NetwrightError(f"labels must be class indices from 0, but one is {int(self.labels.min())}")

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Data:
    """What a network learns from, is chosen by, and is finally judged on.

    Args:
        train: for training, fine-tuning and normalisation statistics.
        validation: for the search; the network never trains on it.
        test: for the final figures alone.
        augment: a random change of a batch of training inputs; draws from torch's global generator.
    """

    train: Part
    validation: Part
    test: Part
    augment: Callable[[Tensor], Tensor] | None = None


class Batches:
    """An iterable of (inputs, labels) batches of a part; iterating again starts anew.

    Args:
        part: the data.
        size: of a batch; the last may be smaller, except when shuffling, where it is dropped if others exist.
        shuffle: a new order each time, drawn from torch's global generator.
        augment: see :class:`Data`.
    """

    def __init__(
        self, part: Part, size: int, *, shuffle: bool = False, augment: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        self.part, self.size, self.shuffle, self.augment = part, size, shuffle, augment

    def __len__(self) -> int:
        whole = len(self.part) // self.size
        return max(whole, 1) if self.shuffle else -(-len(self.part) // self.size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(self.part)) if self.shuffle else torch.arange(len(self.part))
        for i in range(len(self)):
            picked = order[i * self.size : (i + 1) * self.size]
            inputs = self.part.inputs[picked]
            yield self.augment(inputs) if self.augment else inputs, self.part.labels[picked]


def drawn(part: Part, count: int, seed: int) -> Part:
    """At most ``count`` examples at random, in random order: the same for the same seed."""
    picked = torch.randperm(len(part), generator=torch.Generator().manual_seed(seed))[:count]
    return Part(part.inputs[picked], part.labels[picked])


def calibration_batches(data: Data, count: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Batches for normalisation statistics: training examples as networks are trained on them, drawn once.

    Args:
        data: of which the training part and ``augment`` are used.
        count: of examples, at most.
        seed: of what is drawn, augmentation included.
    """
    part = drawn(data.train, count, seed)
    size = -(-len(part) // -(-len(part) // JUDGED))  # even batches: each counts the same
    with seeded(seed):
        return list(Batches(part, size, augment=data.augment))
