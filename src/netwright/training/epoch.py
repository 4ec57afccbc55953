"""One pass over the data: where it stands, and its randomness, so that it can be gone on with in the middle."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .batches import generators_of, tell_epoch
from .processes import Processes
from .sharing import Draws, Portion, portions
from .steps import State
from .streams import Stream

END: Any = object()
"""What comes after the last batch."""


class Epoch:
    """An epoch's batches, in order.

    Its order, augmentation and sub-networks are drawn from (seed, number) alone. What loaders draw and what networks
    draw (dropout) are two streams: so a loader can be read again up to where it was, whatever it draws when.

    Args:
        number: from 0.
        seed: of the training.
        loader: of the training data.
        data: the batches of the epoch, which a rule may choose by what it has of its own when the epoch begins; draws
            from a generator that nothing else draws from.
        state: the rule's own tensors.
        saved: what :meth:`saved` gave, to go on from there.
        processes: that train together: sub-networks are the same in all, what networks and augmentation draw is each
            process's own and begins anew with each batch.

    Attributes:
        at: how many batches were taken.
        pending: how many of them since the weights last moved.
        total, seen: the sum of their losses, and the number of their examples.
        rng: what the rule draws from.
        noise: what networks draw from.
        portion: what :meth:`next_batch` gave last, with what it counts.
    """

    def __init__(
        self,
        number: int,
        seed: int,
        loader: Any,
        data: Callable[[np.random.Generator, State], Iterable[Any]],
        state: State,
        saved: dict[str, Any] | None = None,
        processes: Processes = Processes(),  # noqa: B008  # frozen
    ) -> None:
        self.number, self.at, self.pending, self.total, self.seen = number, 0, 0, 0.0, 0
        self.rng = np.random.default_rng([seed, number])
        self._draws = Stream(int(self.rng.integers(2**63)))
        self._own = lambda purpose, at: _stream(seed, number, purpose, at, processes.rank)
        self._several = processes.size > 1
        self.noise = _stream(seed, number, 1)
        self.portion: Portion | None = None
        self._at_start = {name: tensor.clone() for name, tensor in state.items()}
        generators = generators_of(loader)
        if saved:  # the loader is read again from its beginning
            self.at, self.total, self.seen = saved["at"], saved["total"], saved["seen"]
            self._at_start = saved["at_start"]
            for generator, begin in zip(generators, saved["generators"], strict=True):
                generator.set_state(begin)
        self._generators = [generator.get_state() for generator in generators]
        tell_epoch(loader, number)
        with self._draws.drawing():
            chosen = data(np.random.default_rng([seed, number, 2]), dict(self._at_start))
            draws = Draws(_stream(seed, number, 3), lambda at: self._own(4, at))
            self._batches = portions(chosen, self.at, processes, draws, f"a batch of epoch {number + 1}")
        if saved:
            self.rng.bit_generator.state = saved["rng"]
            self._draws.restore(saved["draws"])
            self.noise.restore(saved["noise"])

    def next_batch(self) -> Any:
        """The next batch, or this process's part of it; :data:`END` after the last.

        Raises :class:`TrainingError` where the loader raises.
        """
        if self._several:
            self.noise = self._own(1, self.at)
        with self._draws.drawing():
            self.portion = next(self._batches, None)
        return END if self.portion is None else self.portion.batch

    def took(self, loss: float) -> None:
        """The batch was learned from."""
        assert self.portion is not None
        self.at, self.pending, self.total, self.seen = (
            self.at + 1, self.pending + 1, self.total + loss,
            self.seen + self.portion.examples,
        )  # fmt: skip

    def saved(self) -> dict[str, Any]:
        """Where the epoch stands, as values for a checkpoint."""
        return {
            "at": self.at,
            "total": self.total,
            "seen": self.seen,
            "rng": self.rng.bit_generator.state,
            "draws": self._draws.saved(),
            "noise": self.noise.saved(),
            "at_start": self._at_start,
            "generators": self._generators,
        }


def _stream(*seed: int) -> Stream:
    return Stream(int(np.random.default_rng(list(seed)).integers(2**63)))
