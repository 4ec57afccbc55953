"""Ranges of activations, found of histograms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netwright.core.errors import NetError
from netwright.core.ranges import RANGES, Entropy, MinMax, Mse, Percentile
from netwright.core.ranges.base import LEVELS, level_of, middles


def histogram(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.histogram(values, 512, (values.min(), values.max()))


def error(values: np.ndarray, low: float, high: float) -> float:
    step = (high - low) / (LEVELS - 1)
    return float(((level_of(values, low, high) * step + low - values) ** 2).mean())


@pytest.mark.parametrize("name", RANGES.names())
@given(seed=st.integers(0, 99), shift=st.floats(-3, 3), shape=st.sampled_from(["normal", "laplace", "exponential"]))
@settings(max_examples=15, deadline=None)
def test_a_range_lies_within_the_values_and_follows_their_scale(name, seed, shift, shape):
    values = getattr(np.random.default_rng(seed), shape)(size=2000) + shift
    counts, edges = histogram(values)
    low, high = RANGES.make(name).find(counts, edges)
    assert min(edges[0], 0) - 1e-9 <= low < high <= max(edges[-1], 0) + 1e-9
    scaled = RANGES.make(name).find(counts, 8 * edges)
    assert scaled == pytest.approx((8 * low, 8 * high))


def test_an_outlier_is_cut_off_by_all_but_minmax():
    values = np.append(np.random.default_rng(0).normal(size=100_000), 60.0)
    counts, edges = histogram(values)
    assert MinMax().find(counts, edges)[1] == 60
    assert Percentile(99.9).find(counts, edges)[1] < 5
    assert Entropy().find(counts, edges)[1] < 30
    low, high = Mse().find(counts, edges)
    assert high < 60 and error(values, low, high) < error(values, values.min(), values.max())


def test_the_least_error_is_that_of_the_range_that_is_found():
    values = np.random.default_rng(1).laplace(size=20_000)
    counts, edges = histogram(values)
    low, high = Mse().find(counts, edges)
    tried = [error(values, low * share, high * share) for share in (0.6, 0.8, 1.25, 1.5)]
    assert error(values, low, high) <= 1.02 * min(tried)


@pytest.mark.parametrize(("percent", "share"), [(90.0, 0.9), (99.0, 0.99), (100.0, 1.0)])
def test_a_percentile_holds_its_share(percent, share):
    values = np.random.default_rng(2).normal(size=50_000)
    counts, edges = histogram(values)
    low, high = Percentile(percent).find(counts, edges)
    inside = counts[(middles(edges) > low) & (middles(edges) < high)].sum() / counts.sum()
    assert share <= inside <= share + 0.01
    if percent < 100:
        assert ((values < low).mean() - (values > high).mean()) == pytest.approx(0, abs=0.005)


def test_mistakes_are_told():
    with pytest.raises(NetError, match="above 50 and up to 100"):
        RANGES.make("percentile,percent=40")
    with pytest.raises(NetError, match="no range of activations 'minmix'"):
        RANGES.make("minmix")
