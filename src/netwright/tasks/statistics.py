"""What a sample says of the whole: shares and means with their 95 % intervals."""

from __future__ import annotations

from bisect import bisect_left
from math import sqrt

from ..core.errors import MeasureError
from ..core.metric import Measurement

Z = 1.96
"""The quantile of the normal distribution of a two-sided 95 % interval."""


def proportion(right: int, total: int) -> Measurement:
    """A share in percent. Its interval is half of Wilson's 95 % interval: how far other samples of the same size
    would scatter."""
    require_examples("accuracy", total)
    share = right / total
    half = Z / (1 + Z * Z / total) * sqrt(share * (1 - share) / total + Z * Z / (4 * total * total))
    return Measurement(100.0 * share, "%", ci95=100.0 * half, n=total)


def mean(total: float, squares: float, n: int, unit: str = "") -> Measurement:
    """The mean of ``n`` independent values; the interval is 1.96 times its standard error.

    Args:
        total: the sum of the values.
        squares: the sum of their squares.
        n: how many there are.
        unit: of a value.
    """
    require_examples("a mean", n)
    value = total / n
    variance = max(0.0, squares / n - value * value) * n / (n - 1) if n > 1 else 0.0
    return Measurement(value, unit, ci95=Z * sqrt(variance / n), n=n)


def require_examples(what: str, n: int) -> None:
    """Raise :class:`MeasureError` where nothing was measured on."""
    if n == 0:
        raise MeasureError(
            f"{what} needs data, but the loader gave none; one that gives its batches only once is used up: make it a "
            "list, a DataLoader, or an object whose __iter__ starts anew"
        )


def most_right(right: int, seen: int, total: int, chance: float) -> int:
    """How many of all examples a network may have right, at most.

    The upper end of the exact one-sided interval for sampling without replacement (the hypergeometric distribution):
    the largest number under which as few as ``right`` among ``seen`` come about with a probability above ``chance``.

    Args:
        right: answers among those seen that are right.
        seen: examples seen, drawn at random from all.
        total: examples in all.
        chance: that the number is larger.
    """
    from scipy.stats import hypergeom

    # The probability falls as the number grows; `right` itself is always possible.
    possible = range(right, total - (seen - right) + 1)
    beyond = bisect_left(possible, True, key=lambda k: bool(hypergeom.cdf(right, total, k, seen) <= chance))
    return possible[max(beyond - 1, 0)]
