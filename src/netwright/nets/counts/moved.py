"""The bytes that operators read and write, in many candidates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..trace import Trace
from .operators import moved_tensors
from .running import Aliases
from .sizes import Sizes, Sum, Term
from .stored import StoredMany


@dataclass(frozen=True)
class _Part:
    """A tensor that is moved.

    Args:
        condition: under which it is.
        buffer: its storage.
        elements: how many it has.
        element_bytes: bytes of each.
    """

    condition: int
    buffer: int
    elements: Term
    element_bytes: int


class Moved:
    """What the operators of a trace move: all that they read and write, and of an expanded tensor what it is of.

    Args:
        trace: of the whole network.
        conditions: of every operator the condition under which it runs; see :class:`Running`.
        aliases: storages whose content is another's; see :func:`passing`.
        sizes: of the tensors.
    """

    def __init__(self, trace: Trace, conditions: Sequence[int], aliases: Aliases, sizes: Sizes) -> None:
        self._aliases, self._buffers, self._sizes = aliases, trace.buffers, sizes
        self._parts = Counter(
            _Part(condition, buffer, sizes.elements(tensor), trace.itemsize[buffer])
            for op, condition in zip(trace.ops, conditions, strict=True)
            for tensor in moved_tensors(op, trace.buffers)
            for buffer in (trace.buffers[tensor],)
        )
        self._whole = {part.buffer: sizes.elements(trace.owners[part.buffer]) for part in self._parts}
        between = {buffer for out, into, _ in aliases for buffer in (out, into)}
        self._whole |= {buffer: sizes.elements(trace.owners[buffer]) for buffer in between}
        self._stored: dict[str, int] = {}

    def store(self, tensors: Mapping[str, int]) -> None:
        """Let :meth:`bytes` be told how these tensors are stored, each with its position in the trace."""
        self._stored = {**tensors}
        vars(self).pop("_arranged", None)

    @cached_property
    def _arranged(self) -> tuple[Sum, list[tuple[_Part, int]]]:
        """What depends on no more than products, added up, and the rest, which is looked at part by part."""
        wholes: dict[int, set[Term]] = {buffer: {term} for buffer, term in self._whole.items()}
        for out, into, _ in self._aliases:
            wholes[out] |= wholes[into]
        held = {self._buffers[tensor] for tensor in self._stored.values()}
        added, rest = Sum(), list[tuple[_Part, int]]()
        for part, times in self._parts.items():
            factor, product = part.elements
            (whole, own), *others = wholes[part.buffer]
            if part.buffer in held or others or own != product:
                rest.append((part, times))
            else:
                added.add(part.condition, (min(factor, whole) * part.element_bytes * times, product))
        return added, rest

    def most(self, products: Sequence[int]) -> int:
        """What no candidate moves more than, of what the products are at most."""
        return sum(
            part.elements[0] * part.element_bytes * times * products[part.elements[1]]
            for part, times in self._parts.items()
        )

    def bytes(self, products: np.ndarray, holds: np.ndarray, stored: Mapping[str, StoredMany]) -> np.ndarray:
        """All that is moved, int64 of shape (candidates,).

        Args:
            products: values, see :meth:`Sizes.products`.
            holds: which conditions hold, see :meth:`Running.holds`.
            stored: how tensors are stored.
        """
        added, rest = self._arranged
        found = added.value(products, holds)
        if not rest:
            return found
        whole = {buffer: factor * products[product] for buffer, (factor, product) in self._whole.items()}
        for out, into, condition in self._aliases:
            whole[out] = np.where(holds[condition], whole[into], whole[out])
        held = {self._buffers[tensor]: (stored[name], tensor) for name, tensor in self._stored.items()}
        for part, times in rest:
            factor, product = part.elements
            elements = np.minimum(factor * products[product], whole[part.buffer])
            size = elements * part.element_bytes
            if part.buffer in held:
                one, tensor = held[part.buffer]
                factor, product = self._sizes.elements(tensor)
                size = np.where(one.said, _share(one.bytes, elements, factor * products[product]), size)
            found += size * times * holds[part.condition]
        return found


def _share(held: np.ndarray, part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """The bytes of a part of a stored tensor, rounded up: its share of the elements. Of a view that repeats some, more
    than are held."""
    whole = np.maximum(whole, 1)
    each, rest = np.divmod(held, whole)
    return np.asarray(part * each - (-part * rest // whole))
