"""Loaders whose examples can be chosen one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from ..tasks.data import TensorLoader
from .batches import reading


@dataclass(frozen=True)
class Chosen:
    """A batch of examples that were chosen.

    Args:
        batch: as the loader gives it.
        index: which examples of the data set it holds, int64 of shape (n,).
        count: how many the data set has.
    """

    batch: Any
    index: Tensor
    count: int


@dataclass(frozen=True)
class Examples:
    """The examples behind a loader.

    Args:
        count: how many there are.
        size: of a batch.
        batches: how many batches the loader gives.
        read: gives the batches of examples by their indices, augmented and collated as the loader's own.
    """

    count: int
    size: int
    batches: int
    read: Callable[[Sequence[Tensor]], Iterable[Any]]

    def chosen(self, likely: np.ndarray, rng: np.random.Generator) -> Iterator[Chosen]:
        """As many batches as the loader gives, of examples drawn by probabilities, in random order.

        An example is drawn as often as its probability times the number of examples says, up or down to a whole number
        (systematic resampling): of equal probabilities, each once.

        Args:
            likely: of shape (count,), which sum to 1.
            rng: the source of randomness.
        """
        at = (np.arange(self.count) + rng.random()) / self.count
        drawn = np.minimum(np.searchsorted(np.cumsum(likely), at), self.count - 1)
        order = torch.from_numpy(rng.permutation(drawn))
        parts = [order[i * self.size : (i + 1) * self.size] for i in range(self.batches)]
        return (Chosen(batch, index, self.count) for batch, index in zip(self.read(parts), parts, strict=True))


def examples_of(loader: Any) -> Examples | None:
    """The examples behind a loader, or None where it does not tell: a list of batches, a stream."""
    if isinstance(loader, TensorLoader):
        return Examples(len(loader.split), loader.size, len(loader), lambda parts: map(loader.batch, parts))
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset) or not loader.batch_size:
        return None
    try:
        count = len(loader.dataset)  # type: ignore[arg-type]
    except (NotImplementedError, TypeError):
        return None
    if len(loader) > -(-count // loader.batch_size):  # a sampler that gives more than there are
        return None

    def read(parts: Sequence[Tensor]) -> DataLoader[Any]:
        return reading(loader, [part.tolist() for part in parts], loader.generator)

    return Examples(count, loader.batch_size, len(loader), read)
