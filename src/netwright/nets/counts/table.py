"""The table of a trace: what every candidate's counts are sums and products of."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from ...core.candidate import Option
from ...core.space import Choice
from ..trace import Trace
from .bits import WHOLE
from .instead import Given, Untabulated, with_instead
from .moved import Moved
from .operators import UNCOUNTED_HEAVY, macs_terms, multiplies
from .peak import Lifetimes
from .running import Running, passing
from .sizes import Effects, Sizes, Sum, Term
from .stored import StoredMany


class SizeTable:
    """Sizes of all tensors of a trace as sums of the axes' effects, and the counts that follow.

    Args:
        trace: of the whole network.
        choices: of the space whose candidates are counted; none: the trace alone is.
        effects: what options add to the sizes of its tensors.
        skipped_modules: axis to the modules that it may skip, with the options with which each runs.
        instead: what is given in the place of their results.
        rounded: the layers of which :meth:`count` is told how many bits their products take.

    Raises :class:`Untabulated` for skipped modules that pass their arguments on in a circle.
    """

    def __init__(
        self,
        trace: Trace,
        choices: Sequence[Choice] = (),
        effects: Effects | None = None,
        skipped_modules: Mapping[str, Mapping[str, tuple[Option, ...]]] | None = None,
        instead: Mapping[str, Sequence[Given]] = MappingProxyType({}),
        rounded: Collection[str] = (),
    ) -> None:
        self._trace = trace
        self._sizes = sizes = Sizes(trace.shapes, effects or {}, choices)
        self._running = running = Running(skipped_modules or {}, choices)
        trace, made = with_instead(trace, instead)
        conditions = [
            running.where_skipped(made[i]) if i in made else running.where_runs(op.module)
            for i, op in enumerate(trace.ops)
        ]
        aliases = passing(trace, running, instead)
        if aliases is None:
            raise Untabulated
        self._macs = Sum()
        self._rounded = {path: Sum() for path in rounded}
        self._uncounted: dict[str, set[int]] = {}  # by name, the conditions under which it runs
        for op, condition in zip(trace.ops, conditions, strict=True):
            if op.name in UNCOUNTED_HEAVY or "." in op.name:  # what operators of another library compute, nobody knows
                self._uncounted.setdefault(op.name, set()).add(condition)
            if multiplies(op) and trace.sparse.intersection(op.reads):
                # How many products that is, the tensor's entries say, not its sizes.
                self._uncounted.setdefault(f"{op.name} of a sparse or nested tensor", set()).add(condition)
                continue
            for term in macs_terms(op, trace.shapes):
                self._macs.add(condition, sizes.term(term))
                if op.module in self._rounded:
                    self._rounded[op.module].add(condition, sizes.term(term))
        self._moved = Moved(trace, conditions, aliases, sizes)
        self._lifetimes = Lifetimes(trace, conditions, aliases, sizes)
        self._owners: dict[str, frozenset[int]] = {}
        self._element_bytes: dict[str, int] = {}
        # Elements and bytes, by what their owners run under.
        self._parameters: dict[frozenset[int], tuple[Sum, Sum]] = {}

    def count_parameters(
        self, element_bytes: Mapping[str, int], owners: Mapping[str, Iterable[str]], stored: Iterable[str]
    ) -> None:
        """Count these parameters, too.

        Args:
            element_bytes: of each, the bytes of an element.
            owners: of each tensor, the paths of the modules that hold it.
            stored: the tensors of which :meth:`count` is told how they are stored.
        """
        self._element_bytes = {**element_bytes}
        for name in (*element_bytes, *stored):
            self._owners[name] = frozenset(self._running.where_runs(path) for path in owners[name])
        for name, size in element_bytes.items():
            elements, sizes = self._parameters.setdefault(self._owners[name], (Sum(), Sum()))
            factor, product = self._elements(name)
            elements.add(0, (factor, product))
            sizes.add(0, (factor * size, product))
        self._moved.store({name: self._trace.names[name] for name in stored if name in self._trace.names})

    def most(self) -> int:
        """What none of the counts is larger than, whatever is stored in another way."""
        most = self._sizes.most()
        held = sum(sizes.most(most) for _, sizes in self._parameters.values())
        return max(WHOLE * self._macs.most(most), held, self._moved.most(most), self._lifetimes.most(most))

    def count(
        self,
        rows: np.ndarray,
        stored: Mapping[str, StoredMany] = MappingProxyType({}),
        bits: Mapping[str, np.ndarray] = MappingProxyType({}),
    ) -> dict[str, np.ndarray]:
        """The counts of the candidates of these rows of option positions, int64 of shape (candidates,) each, by name.

        Args:
            rows: shape (candidates, choices).
            stored: how tensors are stored, where something says so.
            bits: of layers, the bits of a weight times those of an input, each of shape (candidates,).
        """
        products, holds = self._sizes.products(rows), self._running.holds(rows)
        held = {
            name: StoredMany(found.said & self._runs(name, holds), found.bytes, found.macs)
            for name, found in stored.items()
        }
        macs = self._macs.value(products, holds)
        macs += sum((np.where(one.said, one.macs, 0) for one in held.values()), start=np.zeros_like(macs))
        less = sum(((WHOLE - own) * self._rounded[path].value(products, holds) for path, own in bits.items()), 0 * macs)
        params, weight_bytes = self._held(products, holds, held)
        return {
            "params": params,
            "macs": macs,
            "bit_ops": WHOLE * macs - less,
            "weight_bytes": weight_bytes,
            "peak_activation_bytes": self._lifetimes.peak(products, holds),
            "moved_bytes": self._moved.bytes(products, holds, held),
        }

    def uncounted(self, rows: np.ndarray) -> list[tuple[str, ...]]:
        """What is not in the multiply-accumulates of the candidates of these rows."""
        if not self._uncounted:
            return [()] * len(rows)
        holds = self._running.holds(rows)
        runs = {name: np.logical_or.reduce([holds[c] for c in own]) for name, own in sorted(self._uncounted.items())}
        return [tuple(name for name, own in runs.items() if own[at]) for at in range(len(rows))]

    def _runs(self, name: str, holds: np.ndarray) -> np.ndarray:
        """In which candidates some owner of a tensor runs."""
        return np.logical_or.reduce([holds[condition] for condition in self._owners[name]])

    def _held(
        self, products: np.ndarray, holds: np.ndarray, stored: Mapping[str, StoredMany]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Elements and bytes of the parameters."""
        params, weight_bytes = (np.zeros(holds.shape[1], dtype=np.int64) for _ in range(2))
        for conditions, (elements, sizes) in self._parameters.items():
            runs = np.logical_or.reduce([holds[condition] for condition in conditions])
            params += elements.value(products, holds) * runs
            weight_bytes += sizes.value(products, holds) * runs
        for name, own in stored.items():
            if name in self._element_bytes:
                factor, product = self._elements(name)
                plain = factor * self._element_bytes[name] * products[product]
                weight_bytes += np.where(own.said, own.bytes - plain, 0)
        return params, weight_bytes

    def _elements(self, name: str) -> Term:
        return self._sizes.elements(self._trace.names[name])
