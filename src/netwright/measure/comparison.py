"""Which of two networks is faster, by how much, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import comb, erfc, sqrt
from pathlib import Path
from typing import Any

import numpy as np

from ..core.temporary import TemporaryFolder
from .feeds import write_feeds
from .runtimes.base import Feeds
from .sampling import SamplingPlan, by_order
from .targets import Target

ROUNDS = 4
"""Processes that each measure both: where a process's memory lies decides a per cent or two of its speed."""


@dataclass(frozen=True)
class Comparison:
    """What was found of a first and a second file.

    Args:
        ratio: how many times as long as the first the second takes: the median over pairs.
        low, high: the ends of its 95 % interval.
        pairs: how many pairs of one measurement each, taken one after the other, in turn the first and the second
            before.
        slower: pairs in which the second took longer.
        p: the p-value of the sign test: the chance of so uneven pairs, or more uneven ones, if both were equally fast.
    """

    ratio: float
    low: float
    high: float
    pairs: int
    slower: int
    p: float

    @property
    def sure(self) -> bool:
        """Whether one is faster: the interval leaves out 1, and the sign test agrees at 5 %."""
        return self.p < 0.05 and not self.low <= 1 <= self.high

    def sentence(self, first: str, second: str) -> str:
        """In words."""
        interval = f"{self.low:.3f} to {self.high:.3f}"
        signs = f"sign test p = {self.p:.2g}, {self.pairs} pairs"
        if not self.sure:
            return f"{first} and {second} are equally fast as far as this tells: ratio {interval} (95 %; {signs})"
        fast, slow, times = (first, second, self.ratio) if self.ratio > 1 else (second, first, 1 / self.ratio)
        ends = sorted((self.low, self.high) if self.ratio > 1 else (1 / self.low, 1 / self.high))
        interval = f"{ends[0]:.3f} to {ends[1]:.3f} at 95 %"
        return f"{fast} is faster: {slow} takes {times:.3f} times as long ({interval}; {signs})"


def compare(
    target: Target, files: Sequence[Path], feeds: Sequence[Feeds], plan: SamplingPlan, *, trust: bool = False
) -> Comparison:
    """Run two files in turn on a target. Several processes do so, since each has a luck of its own.

    With ``trust`` they are opened even if they are programs; see :meth:`Runtime.guard`.
    """
    found: list[list[float]] = []
    with TemporaryFolder() as folder:
        inputs = [write_feeds(folder / f"feeds{i}.npz", each) for i, each in enumerate(feeds)]
        each = asdict(plan) | {"max_seconds": plan.max_seconds / ROUNDS * 2}
        for turn in range(ROUNDS):
            order = (0, 1) if turn % 2 == 0 else (1, 0)
            job: dict[str, Any] = {
                "job": "compare",
                "seconds": target.runtime.slowest_s + 10 * plan.max_seconds,
                "files": [str(files[i].resolve()) for i in order],
                "trust": trust,
                "feeds": [inputs[i] for i in order],
                "plan": each,
            }
            ratios = target.ask(job)["ratios"]
            found.append([r if turn % 2 == 0 else 1 / r for r in ratios])
    return of_pairs(found)


def of_pairs(rounds: Sequence[Sequence[float]]) -> Comparison:
    """The comparison that ratios of pairs give, process by process."""
    logs = [np.log(r) for r in rounds]
    every = np.concatenate(logs)
    medians = np.array([np.median(x) for x in logs])
    middle = float(np.median(every))
    # Pairs of one process share its luck: what processes differ by counts too.
    between = 3.182 * float(np.std(medians, ddof=1)) / sqrt(len(medians)) if len(medians) == 4 else 0.0
    half = max(by_order(every), between)
    slower = int((every > 0).sum())
    low, ratio, high = (float(np.exp(x)) for x in (middle - half, middle, middle + half))
    return Comparison(ratio, low, high, len(every), slower, sign_test(slower, int((every < 0).sum())))


def sign_test(more: int, less: int) -> float:
    """Two-sided p-value of the sign test."""
    n, k = more + less, min(more, less)
    if n == 0:
        return 1.0
    if n > 1000:  # normal approximation with continuity correction
        return min(1.0, erfc((abs(more - less) - 1) / sqrt(n) / sqrt(2)))
    return min(1.0, 2 * sum(comb(n, i) for i in range(k + 1)) / 2**n)
