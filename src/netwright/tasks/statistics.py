"""What a sample says of the whole: shares and other figures with their 95 % intervals."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
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
    return Measurement(100.0 * share, "%", ci95=100.0 * _wilson(share, total), n=total)


def _wilson(share: float, total: int) -> float:
    return Z / (1 + Z * Z / total) * sqrt(share * (1 - share) / total + Z * Z / (4 * total * total))


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


GROUPS = 20
"""Groups of examples that intervals of figures are found from, by leaving out each in turn."""


def jackknife(value: float, left_out: Sequence[float], unit: str, n: int, shares_of: int = 0) -> Measurement:
    """A figure whose interval is that of the delete-a-group jackknife (Kott, "The delete-a-group jackknife", 2001): how
    far the figures scatter that are found without one of several random groups of examples. It fits means, ratios and
    anything smooth in sums over examples.

    Args:
        value: of all examples.
        left_out: the figure without each of the groups; of one or none no interval is known, and it is 0.
        unit: of the figure.
        n: how many examples, tokens or pixels there are.
        shares_of: the number of examples, where the figure is made of shares in percent: its interval is 100 at most,
            and where no group differs from the others, as where all is right, Wilson's of a share of 1.
    """
    groups, error = len(left_out), 0.0
    if groups > 1:
        from scipy.special import stdtrit

        centre = sum(left_out) / groups
        spread = sqrt((groups - 1) / groups * sum((each - centre) ** 2 for each in left_out))
        error = float(stdtrit(groups - 1, 0.975)) * spread
    if shares_of:
        error = min(error, 100.0) if error > 1e-9 else 100.0 * _wilson(1.0, shares_of)
    return Measurement(value, unit, ci95=error, n=n)
