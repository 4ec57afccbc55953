"""Which values a traced network makes of which: what runs for what."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ..trace import Op, Trace


@dataclass(frozen=True)
class Value:
    """What a tensor held from one operator on: an operator that changes it in place makes a new value.

    Args:
        number: which of all it is.
        made_by: the operator that made it, by its place in the trace; None for what the network is given.
    """

    number: int
    made_by: int | None


class Flow:
    """The values of a trace.

    Attributes:
        reads, writes: for each operator, the values of its tensor arguments and of its results, in order.
        readers: for each value, by its number, the operators that read it.
        live: the operators that the outputs depend on.
    """

    def __init__(self, trace: Trace) -> None:
        self.trace, self.live = trace, trace.live()
        self.reads: list[tuple[Value, ...]] = []
        self.writes: list[tuple[Value, ...]] = []
        self.readers: list[list[int]] = []
        self._history: dict[int, list[Value]] = {}
        self._changing: set[int] = set()  # the operators that change a tensor in place
        self._known: dict[int, set[int]] = {}  # the positions that each storage is seen at
        for at, op in enumerate(trace.ops):
            self._follow(at, op)
        self._sources = self._all_sources()
        self.given = {
            self.at(position, len(trace.ops)).number
            for position, storage in enumerate(trace.buffers)
            if storage in trace.outputs
        }
        """Numbers of the values that are outputs of the network."""

    def _follow(self, at: int, op: Op) -> None:
        reads = tuple(self._now(position) for position in op.reads)
        for value in reads:
            if at in self.live:
                self.readers[value.number].append(at)
        written: dict[int, Value] = {}
        in_place = {self.trace.buffers[p] for p in (*op.changes, *(p for p in op.writes if p in op.reads))}
        if in_place:
            self._changing.add(at)
        for storage in in_place:
            value = self._new(at)
            for position in self._known.get(storage, ()):
                self._history[position].append(value)
                written[position] = value
        for position in op.writes:
            if position not in written:
                written[position] = self._new(at)
                self._put(position, written[position])
        self.reads.append(reads)
        self.writes.append(tuple(written[position] for position in op.writes))

    def _new(self, at: int | None) -> Value:
        self.readers.append([])
        return Value(len(self.readers) - 1, at)

    def _put(self, position: int, value: Value) -> None:
        self._history.setdefault(position, []).append(value)
        self._known.setdefault(self.trace.buffers[position], set()).add(position)

    def _now(self, position: int) -> Value:
        if position not in self._history:
            self._put(position, self._new(None))
        return self._history[position][-1]

    def at(self, position: int, op: int) -> Value:
        """What a tensor held before an operator ran."""
        self._now(position)
        earlier = [v for v in self._history[position] if v.made_by is None or v.made_by < op]
        return earlier[-1] if earlier else self._history[position][0]

    def _all_sources(self) -> list[int]:
        """For each operator, a bit for every value that it depends on."""
        found: list[int] = []
        for reads in self.reads:
            bits = 0
            for value in reads:
                bits |= 1 << value.number | (0 if value.made_by is None else found[value.made_by])
            found.append(bits)
        return found

    def comes_of(self, value: Value, source: Value) -> bool:
        """Whether a value is made of another, however often it was changed on the way."""
        return value.made_by is not None and bool(self._sources[value.made_by] >> source.number & 1)

    def idle_without(self, removed: Collection[int]) -> set[int]:
        """The live operators that run for nothing once some others do not."""
        needed: set[int] = set(self.given)
        idle: set[int] = set()
        for at in range(len(self.trace.ops) - 1, -1, -1):
            if at not in self.live or at in removed:
                continue
            if at in self._changing or any(value.number in needed for value in self.writes[at]):
                needed |= {value.number for value in self.reads[at]}
            else:
                idle.add(at)
        return idle
