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
class Split:
    """Inputs and targets of one part of the data.

    Args:
        inputs: of shape (n, ...).
        targets: class indices, int64 of shape (n,).
    """

    inputs: Tensor
    targets: Tensor

    def __post_init__(self) -> None:
        for what, values in (("inputs", self.inputs), ("targets", self.targets)):
            if not isinstance(values, Tensor):
                raise NetwrightError(
                    f"the {what} of a part must be a torch tensor, not a {type(values).__name__}; "
                    "torch.from_numpy() makes one of an array"
                )
        if len(self.inputs) != len(self.targets) or not len(self.targets):
            raise NetwrightError(f"a part of the data has {len(self.inputs)} inputs and {len(self.targets)} labels")
        if self.targets.dtype != torch.int64 or self.targets.dim() != 1:
            raise NetwrightError(
                f"labels must be class indices, int64 of shape ({len(self.targets)},), not {self.targets.dtype} of "
                f"shape {tuple(self.targets.shape)}; try labels.long().flatten()"
            )
        if self.targets.min() < 0:
            raise NetwrightError(f"labels must be class indices from 0, but one is {int(self.targets.min())}")

    def __len__(self) -> int:
        return len(self.targets)


@dataclass(frozen=True)
class Data:
    """What a network learns from, is chosen by, and is finally judged on.

    Args:
        train: for training, fine-tuning and normalisation statistics.
        validation: for the search; the network never trains on it.
        test: for the final figures alone.
        augment: a random change of a batch of training inputs; draws from torch's global generator.
    """

    train: Split
    validation: Split
    test: Split
    augment: Callable[[Tensor], Tensor] | None = None


class TensorLoader:
    """An iterable of (inputs, labels) batches of a part; iterating again starts anew.

    Args:
        part: the data.
        size: of a batch; the last may be smaller, except when shuffling, where it is dropped if others exist.
        shuffle: a new order each time, drawn from torch's global generator.
        augment: see :class:`Data`.
    """

    def __init__(
        self, part: Split, size: int, *, shuffle: bool = False, augment: Callable[[Tensor], Tensor] | None = None
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
            yield self.augment(inputs) if self.augment else inputs, self.part.targets[picked]


def drawn(part: Split, count: int, seed: int) -> Split:
    """At most ``count`` examples at random, in random order: the same for the same seed."""
    picked = torch.randperm(len(part), generator=torch.Generator().manual_seed(seed))[:count]
    return Split(part.inputs[picked], part.targets[picked])


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
        return list(TensorLoader(part, size, augment=data.augment))
