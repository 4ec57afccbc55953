"""Exact metrics of many candidates in one pass: what each measurer computes is what it measures one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from netwright.core.candidate import Candidate
from netwright.core.metric import Metric
from netwright.measure.base import EvaluationContext, ManyCandidates, Measurer
from netwright.measure.counts import METRICS, Count, NetworkCounts
from netwright.measure.estimate import EnergyEstimate
from netwright.nets.families.inverted_residual import inverted_residual
from netwright.nets.supernet import SuperNet
from netwright.study.evaluate import EvaluationPlan
from netwright.testing.fakes import FakeMeasurer, FakeNet


@pytest.fixture(scope="module")
def net() -> SuperNet:
    return inverted_residual(widths=((4, 8), (6, 8)), depths=((0, 1, 2), (1, 2)), expands=(1, 2), kernels=(3,))


def sampled(net: Any, n: int = 20) -> list[Candidate]:
    rng = np.random.default_rng(0)
    return [net.space.sample(rng) for _ in range(n)]


@pytest.mark.parametrize("measurer", [*map(Count, METRICS), EnergyEstimate("int8")])
def test_many_are_what_each_is(net: SuperNet, measurer: Measurer) -> None:
    candidates, name = sampled(net), measurer.metrics[0].name
    found = measurer.compute(ManyCandidates(net, candidates))
    assert found is not None
    assert found[name].tolist() == [
        measurer.measure(EvaluationContext(net, candidate))[name].value for candidate in candidates
    ]


def test_all_counts_are_found_in_one_pass(net: SuperNet, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    counts = net.counts

    def counted(some: Any) -> Any:
        calls.append(len(some))
        return counts(some)

    monkeypatch.setattr(net, "counts", counted)
    plan = EvaluationPlan(net, (*map(Count, METRICS), EnergyEstimate()), ())
    found = plan.exact_values(sampled(net), {})
    assert list(found) == [*METRICS, "energy_estimate"]
    assert calls == [20]


class CountsOneByOne(FakeNet):
    """A super-network made elsewhere, that counts one candidate at a time."""

    def __init__(self, net: SuperNet) -> None:
        super().__init__(net.space)
        self.count = net.count


def test_who_measures_one_by_one_is_asked_once_of_each(net: SuperNet) -> None:
    cost = FakeMeasurer(Metric("cost", exact=True), lambda c: float(len(c)))
    own = CountsOneByOne(net)
    plan, candidates, known = EvaluationPlan(own, (Count("macs"), cost), ()), sampled(net), dict[Candidate, Any]()
    found = plan.exact_values(candidates, known)
    assert list(found) == ["macs", "cost"]
    assert found["cost"].tolist() == [len(c) for c in candidates]
    assert found["macs"].tolist() == [net.count(c).macs for c in candidates]
    assert plan.exact_values(candidates[:3], known)["cost"].tolist() == [len(c) for c in candidates[:3]]
    assert set(cost.calls.values()) == {1}
    assert NetworkCounts().compute(ManyCandidates(net, candidates)) is None
