"""Loaders as a training reads them: how many batches they give, and how to go on in the middle of an epoch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ..core.errors import TrainingError
from ..tasks.data import read
from .streams import Stream

NO_BATCHES = "the loader gives no batches: is its data set empty, or smaller than a batch it drops?"


def require_loader(loader: Any) -> None:
    """Raise :class:`TrainingError` for what is no loader, or can be read only once."""
    if not isinstance(loader, Iterable) or isinstance(loader, str | bytes | Tensor):
        raise TrainingError(
            f"a loader gives batches such as (inputs, labels) anew at each iteration, as a DataLoader does, and a list "
            f"of batches; a {type(loader).__name__} is none"
        )
    if isinstance(loader, Iterator):
        raise TrainingError(
            f"a loader is read once for each epoch, and a {type(loader).__name__} is used up after the first: "
            "give a list of batches, a DataLoader, or an object whose __iter__ begins anew"
        )


def count_batches(loader: Iterable[Any]) -> int:
    """How many batches a loader gives: its length, or counted in one pass where it does not tell.

    Raises :class:`TrainingError` where there are none.
    """
    try:
        count = len(loader)  # type: ignore[arg-type]
    except (NotImplementedError, TypeError):  # an iterable dataset: its length is what it gives
        count = sum(1 for _ in read(loader, "the batches, while they are counted,"))
    if not count:
        raise TrainingError(NO_BATCHES)
    return count


def batches_from(loader: Iterable[Any], first: int, what: str) -> Iterator[Any]:
    """The batches of an epoch from number ``first`` on. A loader with ``starting_at(first)`` goes there at once; of
    others the batches before are read and left.

    Args:
        loader: which is begun anew.
        first: from 0.
        what: is read, for the error where the loader raises.
    """
    starting_at = getattr(loader, "starting_at", None)
    if starting_at is not None:
        return read(starting_at(first), what)
    batches = read(loader, what)
    for _ in range(first):
        next(batches, None)
    return batches


@contextmanager
def generators_kept(loader: Any) -> Iterator[None]:
    """The generators of a loader are afterwards as they were."""
    generators = [(generator, generator.get_state()) for generator in generators_of(loader)]
    try:
        yield
    finally:
        for generator, state in generators:
            generator.set_state(state)


@contextmanager
def peeking(loader: Iterable[Any]) -> Iterator[Iterator[Any]]:
    """A loader's batches while the block lasts, for a look at some of them: its generators, and those of PyTorch, NumPy
    and Python, are as they were afterwards."""
    with generators_kept(loader), Stream(0).drawing():
        yield read(loader, "the training data")


def reading(
    loader: DataLoader[Any], batches: Iterable[list[int]], generator: torch.Generator | None = None
) -> DataLoader[Any]:
    """A DataLoader of other batches of the data set, otherwise the same.

    Args:
        loader: over a data set with indices.
        batches: the indices of the examples in each.
        generator: what its workers are seeded by; torch's global one by default.
    """
    return DataLoader(
        loader.dataset,
        batch_sampler=batches,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        generator=generator,
        prefetch_factor=loader.prefetch_factor,
    )


def generators_of(loader: Any) -> list[torch.Generator]:
    """The generators that a loader and its samplers draw from, other than the global ones."""
    sampler, batch_sampler = getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None)
    holders = [loader, sampler, batch_sampler, getattr(batch_sampler, "sampler", None)]
    found = [getattr(holder, "generator", None) for holder in holders]
    return list({id(g): g for g in found if isinstance(g, torch.Generator)}.values())


def tell_epoch(loader: Any, epoch: int) -> None:
    """Tell an epoch to a loader, or to a sampler, that asks for it by a method ``set_epoch``."""
    for holder in (loader, getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None)):
        set_epoch = getattr(holder, "set_epoch", None)
        if callable(set_epoch):
            set_epoch(epoch)
