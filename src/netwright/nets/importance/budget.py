"""What a candidate costs, and how far it is beyond limits on that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Protocol

from ...core.candidate import Candidate
from ...core.errors import LimitError, NetError
from ...core.limits import Limit, parse_limit
from ...core.metric import Metric
from ..counts import Counts
from ..supernet import SuperNet

COUNTED = tuple(
    Metric(each.name, "B" if each.name.endswith("bytes") else "", exact=True)
    for each in fields(Counts)
    if each.name != "uncounted"
)
"""What every super-network counts itself."""


class Price(Protocol):
    """Says what candidates cost: any :class:`netwright.Measurer`, such as a :class:`netwright.LookupTable`."""

    metrics: tuple[Metric, ...]

    def values(self, net: SuperNet, candidates: Sequence[Candidate]) -> Sequence[Mapping[str, float]]:
        """The figures of each candidate by metric name."""
        ...


class Budget:
    """Limits, and what candidates cost that are to keep them; each is asked for once.

    Args:
        net: whose candidates.
        limits: one or more, each an upper bound.
        prices: of what the network does not count itself.

    Raises :class:`NetError` or :class:`LimitError` for limits that nothing here can be cut to.
    """

    def __init__(self, net: SuperNet, limits: str | Iterable[str | Limit], prices: Sequence[Price]) -> None:
        self.net = net
        metrics = {m.name: m for m in (*COUNTED, *(m for price in prices for m in price.metrics))}
        self.limits = tuple(_read(each, metrics) for each in ([limits] if isinstance(limits, str) else limits))
        if not self.limits:
            raise NetError("limits is one limit or more, such as ['macs <= 30M']")
        wanted = {limit.metric for limit in self.limits}
        self._counted = wanted & {m.name for m in COUNTED} - {m.name for price in prices for m in price.metrics}
        self._prices = [price for price in prices if wanted & {m.name for m in price.metrics}]
        self._known: dict[Candidate, Mapping[str, float]] = {}

    def values(self, candidates: Sequence[Candidate]) -> list[Mapping[str, float]]:
        """What limits are on, of each candidate."""
        new = [c for c in dict.fromkeys(candidates) if c not in self._known]
        if new:
            found: list[dict[str, float]] = [{} for _ in new]
            if self._counted:
                counts = self.net.counts(new)
                for name in self._counted:
                    for each, value in zip(found, getattr(counts, name).tolist(), strict=True):
                        each[name] = float(value)
            for price in self._prices:
                for each, told in zip(found, price.values(self.net, new), strict=True):
                    each.update(told)
            self._known.update(zip(new, found, strict=True))
        return [self._known[c] for c in candidates]

    def excess(self, candidate: Candidate) -> float:
        """How far a candidate is beyond the limits, each relative to its bound, summed; 0 where all are kept."""
        (values,) = self.values([candidate])
        return sum(limit.violation(values[limit.metric]) for limit in self.limits)


def _read(limit: str | Limit, metrics: Mapping[str, Metric]) -> Limit:
    found = parse_limit(limit, metrics.values()) if isinstance(limit, str) else limit
    if found.metric not in metrics:
        raise LimitError(f"the limit {str(found)!r} is on what neither the counts nor price= tells of")
    if found.op not in ("<", "<=") or not found.bound > 0:
        raise LimitError(
            f"the limit {str(found)!r} is none that a network can be cut to: an upper bound above 0, such as "
            f"'{found.metric} <= {abs(found.bound) or 1:g}'"
        )
    return found
