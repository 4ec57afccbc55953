"""The most bytes of activations that live at once, in many candidates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..trace import Trace
from .running import Aliases
from .sizes import Sizes

NEVER = np.iinfo(np.int32).max


class Lifetimes:
    """When the storages of a trace are made and used last, by operators that run or not.

    Time is counted in the operators of the whole trace: while one does not run, no other storages live than before or
    after it.

    Args:
        trace: of the whole network.
        conditions: of every operator the condition under which it runs; see :class:`Running`.
        aliases: storages whose content is another's; see :func:`passing`.
        sizes: of the tensors.
    """

    def __init__(self, trace: Trace, conditions: Sequence[int], aliases: Aliases, sizes: Sizes) -> None:
        uses: dict[tuple[int, int], tuple[int, int]] = {}
        for at, (op, condition) in enumerate(zip(trace.ops, conditions, strict=True)):
            for tensor in (*op.reads, *op.writes):
                key = trace.buffers[tensor], condition
                uses[key] = uses[key][0] if key in uses else at, at
        shared = {buffer for out, into, _ in aliases for buffer in (out, into)}
        known = (buffer for buffer in (*trace.inputs, *trace.outputs, *(b for b, _ in uses)) if buffer not in shared)
        own = dict.fromkeys([*(b for b in known if b not in trace.weights), *sorted(shared)])
        place = {buffer: i for i, buffer in enumerate(own)}
        self._end, self._aliases = len(trace.ops), [(place[out], place[into], c) for out, into, c in aliases]
        used: dict[int, list[tuple[int, int, int]]] = {}
        for (buffer, condition), (first, last) in uses.items():
            if buffer in place:
                used.setdefault(condition, []).append((place[buffer], first, last))
        self._uses = {condition: np.array(own, dtype=np.int64).T for condition, own in used.items()}
        self._first_of = {condition: conditions.index(condition) for condition in dict.fromkeys(conditions)}
        self._inputs = [place[buffer] for buffer in trace.inputs if buffer in place]
        self._outputs = [place[buffer] for buffer in trace.outputs if buffer in place]
        self._weights = [place[buffer] for buffer in shared if buffer in trace.weights]
        terms = [(*sizes.elements(trace.owners[buffer]), trace.itemsize[buffer]) for buffer in place]
        self._bytes = [(factor * size, product) for factor, product, size in terms]

    def most(self, products: Sequence[int]) -> int:
        """What no candidate has more of, of what the products are at most."""
        return sum(factor * products[product] for factor, product in self._bytes)

    def peak(self, products: np.ndarray, holds: np.ndarray) -> np.ndarray:
        """The most bytes that live at once, shape (candidates,).

        Args:
            products: values, see :meth:`Sizes.products`.
            holds: which conditions hold, see :meth:`Running.holds`.
        """
        if not self._bytes:
            return np.zeros(holds.shape[1], dtype=np.int64)
        first, last = self._lifetimes(holds)
        n, place = holds.shape[1], np.arange(holds.shape[1])
        factors, which = (np.array(part, dtype=np.int64) for part in zip(*self._bytes, strict=True))
        living = first < NEVER
        sizes = (products[which] * factors[:, None])[living]
        change = np.zeros((self._end + 2) * n, dtype=np.int64)
        np.add.at(change, (np.maximum(first, 0) * n + place)[living], sizes)
        np.subtract.at(change, ((last + 1) * n + place)[living], sizes)
        live = np.cumsum(change.reshape(self._end + 2, n), axis=0)
        return np.asarray(live.max(axis=0))

    def _lifetimes(self, holds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First and last use of the storages, both of shape (storages, candidates); ``NEVER`` where there is none."""
        n = holds.shape[1]
        first = np.full((len(self._bytes), n), NEVER, dtype=np.int64)
        last = np.full((len(self._bytes), n), -1, dtype=np.int64)
        for condition, (at, begin, end) in self._uses.items():
            first[at] = np.minimum(first[at], np.where(holds[condition], begin[:, None], NEVER))
            last[at] = np.maximum(last[at], np.where(holds[condition], end[:, None], -1))
        begins = [np.where(holds[condition], at, NEVER) for condition, at in self._first_of.items()]
        begin = np.minimum.reduce(begins) if begins else np.full(n, NEVER)
        first[self._inputs] = -1  # an input lives while the first operator runs, whoever reads it
        last[self._inputs] = np.maximum(last[self._inputs], np.where(begin < NEVER, begin, 0))
        last[self._outputs] = self._end
        for out, into, condition in reversed(self._aliases):
            same = holds[condition]
            first[into] = np.where(same, np.minimum(first[into], first[out]), first[into])
            last[into] = np.where(same, np.maximum(last[into], last[out]), last[into])
            first[out] = np.where(same, NEVER, first[out])
        first[self._weights] = NEVER
        return first, last
