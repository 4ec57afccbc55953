"""Which of two is faster, and how sure that is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from torch import nn

import netwright as nw
from netwright.measure.comparison import ROUNDS, compare, of_pairs, sign_test
from netwright.measure.convert import feeds_of
from netwright.measure.sampling import SamplingPlan
from netwright.measure.targets import Target


@given(st.integers(0, 400), st.integers(0, 400))
def test_the_sign_test_is_scipys(more: int, less: int) -> None:
    expected = binomtest(more, more + less).pvalue if more + less else 1.0
    assert sign_test(more, less) == pytest.approx(expected, abs=1e-9)


def test_the_sign_test_of_many_pairs_is_near_the_exact_one() -> None:
    for more, less in ((600, 500), (1100, 1000), (5000, 5100)):
        assert sign_test(more, less) == pytest.approx(binomtest(more, more + less).pvalue, rel=0.02)
    assert sign_test(10_000, 100) < 1e-200


def rounds(rng: np.random.Generator, ratio: float, luck: float, noise: float = 0.02) -> list[list[float]]:
    return [list(ratio * np.exp(rng.normal(0, luck) + rng.normal(0, noise, 60))) for _ in range(ROUNDS)]


def test_equal_ones_are_seldom_called_different_even_where_processes_differ() -> None:
    rng = np.random.default_rng(0)
    found = [of_pairs(rounds(rng, 1.0, luck=0.01)) for _ in range(300)]
    assert sum(c.sure for c in found) / 300 <= 0.07
    held = [c.low <= 1 <= c.high for c in found]
    assert np.mean(held) >= 0.93


def test_a_difference_of_five_percent_is_found() -> None:
    rng = np.random.default_rng(1)
    found = [of_pairs(rounds(rng, 1.05, luck=0.003)) for _ in range(100)]
    assert all(c.sure and c.low <= 1.05 * 1.02 and c.high >= 1.05 / 1.02 for c in found)
    sentence = found[0].sentence("a.onnx", "b.onnx")
    assert sentence.startswith("a.onnx is faster: b.onnx takes 1.0")
    turned = of_pairs([[1 / r for r in one] for one in rounds(rng, 1.05, luck=0.003)])
    assert turned.sentence("a.onnx", "b.onnx").startswith("b.onnx is faster: a.onnx takes 1.0")


def test_what_cannot_be_told_is_said() -> None:
    sentence = of_pairs(rounds(np.random.default_rng(2), 1.0, luck=0.01)).sentence("a.onnx", "b.onnx")
    assert "equally fast as far as this tells" in sentence and "sign test" in sentence


def test_two_networks_are_compared_in_turn(tmp_path: Path) -> None:
    torch.manual_seed(0)
    target = Target(nw.targets.OnnxRuntime())
    files, inputs = [], torch.randn(1, 64)
    for layers in (2, 40):
        network = nn.Sequential(*(nn.Linear(64, 64) for _ in range(layers)))
        files.append(tmp_path / f"{layers}.onnx")
        nw.Latency(target).write(network, inputs, files[-1])
    feeds = [feeds_of(inputs)] * 2
    found = compare(target, files, feeds, SamplingPlan(max_seconds=0.2))
    assert found.sure and 1.5 < found.ratio < 40 and found.pairs >= 4 * 7
    back = compare(target, files[::-1], feeds, SamplingPlan(max_seconds=0.2))
    assert back.sure and 1 / 40 < back.ratio < 1 / 1.5
    same = compare(target, [files[0], files[0]], feeds, SamplingPlan(max_seconds=0.2))
    assert 1 / 1.5 < same.ratio < 1.5  # how well they agree, benchmarks/truth.py says
