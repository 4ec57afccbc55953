"""The estimate of energy, by hand; that it says what it is; and that a search may use it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import netwright as nw
from netwright.core.errors import MeasureError
from netwright.measure.base import EvaluationContext
from netwright.measure.estimate import PJ_PER_BYTE, EnergyEstimate
from netwright.nets.families.inverted_residual import inverted_residual


@pytest.fixture(scope="module")
def net() -> nw.SuperNet:
    return inverted_residual()


def linear(dtype: torch.dtype = torch.float32) -> EvaluationContext:
    """12 MACs; moves 4 inputs, 12 weights, 3 biases and 3 outputs."""
    net = nw.SuperNet(nn.Linear(4, 3).to(dtype), [], torch.randn(1, 4, dtype=dtype))
    return EvaluationContext(net, net.largest)


def mj(estimate: EnergyEstimate, context: EvaluationContext) -> float:
    found = estimate.measure(context)["energy_estimate"]
    assert (found.unit, found.ci95, found.n) == ("mJ", 0, 1)
    return found.value


@pytest.mark.parametrize(
    ("precision", "per_mac", "size"), [("float32", 4.6, 4), ("float16", 1.5, 2), ("int8", 0.23, 1)]
)
@pytest.mark.parametrize("own", [torch.float32, torch.float64])
def test_by_hand(precision: str, per_mac: float, size: int, own: torch.dtype) -> None:
    """Whatever precision the network itself is in."""
    by_hand = 12 * per_mac + (4 + 12 + 3 + 3) * size * 243.75
    assert mj(EnergyEstimate(precision), linear(own)) == pytest.approx(1e-9 * by_hand)


def test_energies_may_be_given() -> None:
    context = linear()
    assert mj(EnergyEstimate(pj_per_mac=1e9, pj_per_byte=0), context) == pytest.approx(12)
    assert mj(EnergyEstimate(pj_per_mac=0, pj_per_byte=1e9), context) == pytest.approx(4 * 22)
    assert 1300 < 8 * PJ_PER_BYTE < 2600


def test_it_is_an_exact_metric_of_its_own_name_and_says_what_it_assumes() -> None:
    (metric,) = EnergyEstimate().metrics
    assert (metric.name, metric.unit, metric.direction, metric.exact) == ("energy_estimate", "mJ", "min", True)
    assert EnergyEstimate("int8").provenance() == {
        "energy_estimate": {"precision": "int8", "pj_per_mac": 0.23, "pj_per_byte": 243.75}
    }
    assert "not a measurement" in (EnergyEstimate.__doc__ or "")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"precision": "float8"}, "float8"),
        ({"precision": "bfloat16"}, "did you mean 'float16'"),
        ({"pj_per_mac": -1.0}, "pj_per_mac must be an energy in pJ of 0 or more, not -1.0"),
        ({"pj_per_byte": float("nan")}, "pj_per_byte"),
    ],
)
def test_what_is_not_known_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(MeasureError, match=words):
        EnergyEstimate(**settings)


def test_a_super_network_that_does_not_count_is_told(net: nw.SuperNet) -> None:
    class Bare:
        space, extract = net.space, net.extract

    with pytest.raises(MeasureError, match="does not count"):
        EnergyEstimate().measure(EvaluationContext(Bare(), net.smallest))


def test_what_is_not_counted_is_named() -> None:
    net = nw.SuperNet(nn.Bilinear(3, 4, 5), [], (torch.randn(2, 3), torch.randn(2, 4)))
    found = EnergyEstimate().measure(EvaluationContext(net, net.largest))["energy_estimate"]
    assert found.details == {"uncounted": ["_trilinear"]}


def test_more_work_is_more_energy_and_less_precision_less(net: nw.SuperNet) -> None:
    small, large = EvaluationContext(net, net.smallest), EvaluationContext(net, net.largest)
    whole, half, byte = (EnergyEstimate(p) for p in ("float32", "float16", "int8"))
    assert mj(whole, small) < mj(whole, large)
    assert mj(byte, large) < mj(half, large) < mj(whole, large)


def test_it_costs_what_counting_costs(net: nw.SuperNet, work: Callable[[Callable[[], object]], int]) -> None:
    estimate = EnergyEstimate()
    estimate.measure(EvaluationContext(net, net.largest))
    subjects = [EvaluationContext(net, net.space.sample(np.random.default_rng(i))) for i in range(100)]
    counted = work(lambda: [net.count(context.candidate) for context in subjects])
    assert work(lambda: [estimate.measure(context) for context in subjects]) < 1.5 * counted


def test_a_search_trades_it_off(net: nw.SuperNet, tmp_path: Path) -> None:
    """A limit holds for all that is measured, since it is known beforehand."""
    estimate = EnergyEstimate()
    least, most = (mj(estimate, EvaluationContext(net, c)) for c in (net.smallest, net.largest))
    limit = (least + most) / 2
    limits = [f"energy_estimate <= {limit:.6f} mJ"]
    study = nw.Study(tmp_path / "s.db", net, objectives=[nw.Count("params"), estimate], limits=limits)
    study.run(nw.Random(), 6)
    values = [r.measurements["energy_estimate"].value for r in study.records if r.status == "ok"]
    assert values and max(values) <= limit
