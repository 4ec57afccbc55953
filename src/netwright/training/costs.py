"""What the sub-networks of a super-network cost, and how one of a given cost is drawn."""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise
from typing import Literal, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from ..core.candidate import Candidate
from ..core.encoding import Candidates, Encoding
from ..core.errors import NetwrightError, TrainingError
from ..nets.supernet import SuperNet

Count = Literal["macs", "params", "weight_bytes", "peak_activation_bytes", "moved_bytes", "bit_ops"]
"""What is counted of a sub-network; see :class:`netwright.Counts`."""

TILTS = 41
"""Distributions between the cheapest and the dearest networks that are tried."""

STEEPEST = 40.0
"""At the ends, an option that costs a standard deviation more is e^40 times as likely, or unlikely."""


class Effort(NamedTuple):
    """How many networks are counted.

    Args:
        learned: uniform draws that say what options cost.
        each: draws of each distribution that is tried.
        tried: networks that are drawn for one: the one whose cost is nearest is taken, or the cheapest or the dearest
            of all where that is nearer.
    """

    learned: int
    each: int
    tried: int


FAST, TRACED = Effort(512, 24, 4), Effort(96, 3, 2)
"""Where counts are read from a table, and where each network is traced."""


class Costs:
    """The costs of a super-network's sub-networks, and draws of a given cost.

    Each option of each choice has a probability that grows or falls exponentially with what it costs: of all
    distributions of that mean cost the one of most entropy, so that networks of one cost are drawn as uniform draws
    would give them, had they that cost. How steep it is for which cost is found out once, by draws from a generator of
    its own: a pure function of the super-network.

    Args:
        net: the super-network.
        count: what of a sub-network is its cost.

    Raises :class:`TrainingError` where sub-networks do not differ in it, or it cannot be counted.
    """

    def __init__(self, net: SuperNet, count: Count = "macs") -> None:
        self._net, self.count = net, count
        self._encoding = Encoding(net.space)
        self._sizes = self._encoding.sizes
        self._effort = FAST if net.counts_fast else TRACED
        rng = np.random.default_rng(0)
        ends = self._encoding.of([net.smallest, net.largest])
        uniform = np.concatenate([self._draw(0.0, self._effort.learned, rng), ends])
        costs = self.of_rows(uniform)
        if costs.min() >= costs.max():
            raise TrainingError(
                f"all sub-networks have the same {count} ({costs[0]:g}): there is nothing to draw by; take another "
                "count, or a rule or sampling that needs no costs"
            )
        self._effects = self._effects_of(uniform, costs)
        self.tilts = np.sinh(np.linspace(-1, 1, TILTS) * np.arcsinh(STEEPEST))
        every = np.concatenate([*(self._draw(tilt, self._effort.each, rng) for tilt in self.tilts), ends])
        found = self.of_rows(every)
        self._ends = every[[found.argmin(), found.argmax()]]
        self.least, self.most = float(found.min()), float(found.max())
        # Draws are few: the mean costs are made to ascend, as their expectations do.
        means = found[: -len(ends)].reshape(TILTS, -1).mean(1)
        self._means = np.maximum.accumulate(means)

    def of_rows(self, rows: np.ndarray) -> np.ndarray:
        """The costs of canonical rows of option positions, float64 of shape (n,)."""
        try:
            counts = self._net.counts(Candidates(self._encoding, rows))
        except NetwrightError as error:
            raise TrainingError(
                f"the {self.count} of this super-network's sub-networks cannot be counted ({error}): take a rule and "
                "a sampling that need no costs"
            ) from error
        return np.asarray(getattr(counts, self.count), dtype=np.float64)

    def of(self, candidate: Candidate) -> float:
        """The cost of one sub-network."""
        return float(self.of_rows(self._encoding.of([candidate]))[0])

    def share_of(self, candidate: Candidate) -> float:
        """Where in the range a sub-network's cost lies, from 0 to 1."""
        return (self.of(candidate) - self.least) / (self.most - self.least)

    def draw(self, share: float, rng: np.random.Generator, tried: int = 0) -> Candidate:
        """A random sub-network of about a given cost.

        Args:
            share: where in the range of costs, from 0 to 1.
            rng: the source of randomness.
            tried: networks that are drawn for it, of which the nearest is taken; a few by default.
        """
        wanted = self.least + share * (self.most - self.least)
        rows = self._draw(float(np.interp(wanted, *self._curve)), tried or self._effort.tried, rng)
        found = np.append(self.of_rows(rows), [self.least, self.most])
        rows, nearest = np.concatenate([rows, self._ends]), int(np.argmin(np.abs(found - wanted)))
        return self._encoding.candidates(rows[nearest : nearest + 1])[0]

    @cached_property
    def _curve(self) -> tuple[np.ndarray, np.ndarray]:
        """Costs, ascending, and the tilt that gives each on average."""
        costs, first = np.unique(self._means, return_index=True)
        return costs, self.tilts[first]

    def _draw(self, tilt: float, n: int, rng: np.random.Generator) -> np.ndarray:
        """Canonical rows: with a tilt of 0 uniform, above it dear options more likely, below it cheap ones."""
        drawn = rng.random((n, len(self._sizes)))
        if not tilt:
            return self._encoding.canonical((drawn * self._sizes).astype(np.int64))
        heights = np.where(np.isfinite(self._effects), tilt * self._effects, -np.inf)
        likely = np.exp(heights - heights.max(1, keepdims=True))
        until = np.cumsum(likely, axis=1) / likely.sum(1, keepdims=True)
        positions = (drawn[:, :, None] >= until[None, :, :-1]).sum(2)
        return self._encoding.canonical(np.minimum(positions, self._sizes - 1))

    def _effects_of(self, rows: np.ndarray, costs: np.ndarray) -> np.ndarray:
        """What each option adds to the cost, in standard deviations of all options' effects, float64 of shape
        (choices, most options); -inf where a choice has no such option.

        Least squares of the costs of uniform draws; what a draw lacks (a choice that is not active) adds nothing.
        """
        starts = np.cumsum([0, *self._sizes])
        taken = np.zeros((len(rows), starts[-1]))
        at, choice = np.nonzero(rows >= 0)
        taken[at, starts[choice] + rows[at, choice]] = 1
        centred = taken - taken.mean(0)
        # A little of ridge regression: the options of a choice sum to a constant.
        normal = centred.T @ centred + 0.01 * len(rows) / max(1, len(self._sizes)) * np.eye(int(starts[-1]))
        effects = np.linalg.solve(normal, centred.T @ ((costs - costs.mean()) / costs.std()))
        found = np.full((len(self._sizes), int(self._sizes.max(initial=1))), -np.inf)
        for i, (start, end) in enumerate(pairwise(starts)):
            found[i, : end - start] = effects[start:end] - effects[start:end].mean()
        whole = found[np.isfinite(found)]
        return found / (whole.std() or 1.0)


_KNOWN: WeakKeyDictionary[SuperNet, dict[Count, Costs]] = WeakKeyDictionary()


def costs_of(net: SuperNet, count: Count = "macs") -> Costs:
    """The costs of a super-network, found out once."""
    known = _KNOWN.setdefault(net, {})
    if count not in known:
        known[count] = Costs(net, count)
    return known[count]
