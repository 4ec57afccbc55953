"""Costs of sub-networks: how one of a given cost is drawn, and the sampling that draws all costs alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from small_nets import loader, small
from torch import nn

import netwright as nw
from netwright.core.errors import CallError, NetwrightError, RecipeError, TrainingError
from netwright.nets.families.ofa import ofa_mobilenet_v3
from netwright.recipes.digits import supernet
from netwright.training.costs import costs_of
from netwright.training.rules import Step
from netwright.training.sampling import SAMPLINGS, Cost, Sampling, Uniform

DRAWS = 400


def shares(net: nw.SuperNet, sampling: Sampling) -> np.ndarray:
    """Where in the range of MACs draws lie, from 0 to 1: counted exactly, apart from what draws them."""
    rng = np.random.default_rng(0)
    macs = net.counts([sampling.sample(net, rng, Step(), {}) for _ in range(DRAWS)]).macs
    least, most = net.count(net.smallest).macs, net.count(net.largest).macs
    return (macs - least) / (most - least)


@pytest.mark.parametrize("make", [supernet, ofa_mobilenet_v3])
def test_every_tenth_of_the_range_gets_its_share(make: object) -> None:
    net = make()  # type: ignore[operator]
    tenths, _ = np.histogram(shares(net, Cost()), 10, (0, 1))
    assert tenths.sum() == DRAWS and tenths.min() > DRAWS / 20 and tenths.max() < DRAWS * 3 / 20, tenths
    uniform, _ = np.histogram(shares(net, Uniform()), 10, (0, 1))
    assert uniform[-3:].sum() < DRAWS / 100, "which uniform draws do not"


def test_both_ends_are_reached() -> None:
    net, rng = supernet(), np.random.default_rng(0)
    costs = costs_of(net)
    assert costs is costs_of(net) and costs is not costs_of(net, "params")
    low, high = (np.mean([costs.share_of(costs.draw(end, rng)) for _ in range(30)]) for end in (0.0, 1.0))
    assert low < 0.005 and high > 0.97
    assert costs.draw(0.0, rng) == net.smallest and costs.draw(1.0, rng) == net.largest


def test_of_one_cost_networks_differ_in_all_that_they_may() -> None:
    net, rng = small(), np.random.default_rng(0)
    costs = costs_of(net)
    drawn = [costs.draw(0.5, rng) for _ in range(200)]
    for choice in net.space:
        assert {c[choice.name] for c in drawn if choice.name in c} == set(choice.options)
    assert np.std([costs.share_of(c) for c in drawn]) < 0.15


def test_a_network_of_a_cost_is_given() -> None:
    net, rng = supernet(), np.random.default_rng(0)
    drawn = [Cost().near(net, 700_000, rng) for _ in range(20)]
    assert len(set(drawn)) > 15 and all(net.count(c).macs == pytest.approx(700_000, rel=0.05) for c in drawn)
    with pytest.raises(CallError, match=r"between 19536 and .* macs; none has 2e\+08"):
        Cost().near(net, 2e8, rng)


def test_where_networks_are_traced_few_are_and_all_costs_come_still(monkeypatch: pytest.MonkeyPatch) -> None:
    net, counted = small(), list[int]()
    fast, counts = net.counts_fast, net.counts
    monkeypatch.setattr(type(net), "counts_fast", False)

    def counting(candidates: Any) -> Any:
        counted.append(len(candidates))
        return counts(candidates)

    monkeypatch.setattr(net, "counts", counting)
    costs, rng = costs_of(net), np.random.default_rng(0)
    assert fast and sum(counted) < 250
    counted.clear()
    drawn = [costs.draw(float(share), rng) for share in rng.random(200)]
    assert counted == [2] * 200
    quarters, _ = np.histogram([costs.share_of(c) for c in drawn], 4, (0, 1))
    assert quarters.min() > 20


def test_another_count_is_drawn_by() -> None:
    net, rng = supernet(), np.random.default_rng(0)
    params = net.counts([Cost("params").sample(net, rng, Step(), {}) for _ in range(DRAWS)]).params
    least, most = net.count(net.smallest).params, net.count(net.largest).params
    tenths, _ = np.histogram((params - least) / (most - least), 10, (0, 1))
    assert tenths.min() > DRAWS / 20


def test_networks_that_cost_alike_are_told() -> None:
    class Kept(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale, self.layer = 2, nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x.flatten(1)[:, :4]) * self.scale

    axis = nw.Attribute("scale", (("", "scale"),), (1, 2))
    net = nw.SuperNet(Kept(), [axis], torch.zeros(1, 1, 4, 4))
    for wishes in ({"sampling": "cost"}, {"rule": "attentive"}):
        with pytest.raises(TrainingError, match=r"the same macs \(12\).*take another count, or a rule or sampling"):
            nw.train(net, loader(), epochs=1, **wishes)  # type: ignore[arg-type]


def test_what_cannot_be_counted_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    net = small()

    def counts(candidates: object) -> None:
        raise NetwrightError("no tensor has a size")

    monkeypatch.setattr(net, "counts", counts)
    with pytest.raises(TrainingError, match=r"cannot be counted \(no tensor has a size\): take a rule and a sampling"):
        nw.train(net, loader(), epochs=1, sampling="cost")


def test_counts_are_named() -> None:
    assert SAMPLINGS.make("cost,count=params") == Cost("params")
    with pytest.raises(RecipeError, match="count must be one of macs, params"):
        SAMPLINGS.make("cost,count=flops")
