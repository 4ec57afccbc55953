"""How the batches of a loader are shared among processes: each learns from its own part of every batch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler, IterableDataset

from ..core.errors import NetError, TrainingError
from ..nets.inputs import ATOMS, each_tensor, tensors_in
from ..tasks.data import TensorLoader, read, size_of
from .batches import batches_from, reading
from .processes import Processes
from .streams import Stream


class Portion(NamedTuple):
    """What one process learns from.

    Args:
        batch: its part of a batch of all processes.
        weight: what its gradients count, so that the mean over processes is that over the whole batch: 1 where all
            have as many examples, 0 for an example that is only there because a batch has too few.
        examples: of the whole batch.
    """

    batch: Any
    weight: float
    examples: int


@dataclass(frozen=True)
class Draws:
    """Where the processes' random numbers come from.

    Args:
        order: the same in all processes, for nothing but the order of examples.
        own: of a batch's number, for this process alone.
    """

    order: Stream
    own: Callable[[int], Stream]


def portions(loader: Iterable[Any], first: int, processes: Processes, draws: Draws, what: str) -> Iterator[Portion]:
    """This process's part of each batch of an epoch, from number ``first`` on.

    Of a :class:`netwright.TensorLoader` and of a DataLoader over a data set with indices each process reads and changes
    its own examples alone. A DataLoader with a DistributedSampler shares them out already. Of any other loader each
    process reads whole batches, the same in all, and takes its part of them.

    Args:
        loader: which is begun anew.
        first: from 0.
        processes: that share.
        draws: where random numbers come from.
        what: is read, for the error where the loader raises.
    """
    if processes.size == 1 or _is_shared_out(loader):
        return (Portion(b, 1.0, size_of(b) * processes.size) for b in batches_from(loader, first, what))
    if isinstance(loader, TensorLoader):
        return read(_of_tensors(loader, first, processes, draws), what)
    if type(loader) is DataLoader and loader.batch_sampler is not None and not _streams(loader):
        return _of_indices(loader, first, processes, draws, what)
    return map(partial(_cut, processes=processes), batches_from(loader, first, what))


def _is_shared_out(loader: Any) -> bool:
    samplers = (getattr(loader, "sampler", None), getattr(getattr(loader, "batch_sampler", None), "sampler", None))
    return any(isinstance(sampler, DistributedSampler) for sampler in samplers)


def _streams(loader: DataLoader[Any]) -> bool:
    return isinstance(loader.dataset, IterableDataset)


def _bounds(count: int, processes: Processes) -> tuple[int, int, float]:
    """Where this process's part of so many examples begins and ends, and its weight."""
    begin, end = (count * rank // processes.size for rank in (processes.rank, processes.rank + 1))
    if begin == end:  # it learns along, so that all draw alike, from an example that does not count
        return 0, 1, 0.0
    return begin, end, (end - begin) * processes.size / count


def _of_tensors(loader: TensorLoader, first: int, processes: Processes, draws: Draws) -> Iterator[Portion]:
    def portion(numbered: tuple[int, Tensor]) -> Portion:
        number, index = numbered
        begin, end, weight = _bounds(len(index), processes)
        with draws.own(number).drawing():
            return Portion(loader.batch(index[begin:end]), weight, len(index))

    return map(portion, enumerate(loader.indices(first), first))


class _Parts:
    """This process's indices of each batch that a sampler gives; tells their weights and the batches' sizes."""

    def __init__(self, sampler: Iterable[list[int]], first: int, processes: Processes, order: Stream) -> None:
        self.sampler, self.first, self.processes, self.order = sampler, first, processes, order
        self.told: deque[tuple[float, int]] = deque()

    def __iter__(self) -> Iterator[list[int]]:
        with self.order.drawing():
            batches = iter(self.sampler)
            for _ in range(self.first):
                next(batches, None)
        while True:
            with self.order.drawing():
                batch = next(batches, None)
            if batch is None:
                return
            begin, end, weight = _bounds(len(batch), self.processes)
            self.told.append((weight, len(batch)))
            yield list(batch)[begin:end]


def _of_indices(
    loader: DataLoader[Any], first: int, processes: Processes, draws: Draws, what: str
) -> Iterator[Portion]:
    assert loader.batch_sampler is not None
    parts = _Parts(loader.batch_sampler, first, processes, draws.order)
    with draws.own(first).drawing():
        batches, number = read(reading(loader, parts), what), first
    while True:
        with draws.own(number).drawing():
            try:
                batch = next(batches)
            except StopIteration:
                return
        yield Portion(batch, *parts.told.popleft())
        number += 1


def _cut(batch: Any, processes: Processes) -> Portion:
    """This process's part of a batch of any structure whose tensors all have the examples first."""
    count = size_of(batch)
    begin, end, weight = _bounds(count, processes)
    _require_alike(batch, count)
    try:
        return Portion(each_tensor(batch, lambda t: t[begin:end] if t.dim() else t), weight, count)
    except NetError as error:
        raise _not_shared(str(error)) from None


def _require_alike(batch: Any, count: int) -> None:
    """Raise :class:`TrainingError` for a batch with something in it that may not be cut by examples."""
    if other := [tuple(t.shape) for t in tensors_in(batch) if t.dim() and len(t) != count]:
        raise _not_shared(f"one of its tensors has {count} examples, and one has the shape {other[0]}")
    if isinstance(batch, Mapping):
        batch = list(batch.values())
    if isinstance(batch, tuple | list):
        for part in batch:
            if type(part) in ATOMS and part is not None:
                raise _not_shared(f"it holds {part!r:.40}, which is no tensor")
            _require_alike(part, count)


def _not_shared(why: str) -> TrainingError:
    return TrainingError(
        f"a batch cannot be shared among processes: {why}. Give a netwright.TensorLoader, a DataLoader over a data set "
        "with indices, or one with a DistributedSampler"
    )
