"""Random menus within menus, blocks and options: active, extracted, counted from the table, written as ONNX alike."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import Added
from torch import nn

import netwright as nw
from netwright.nets.menu import Menu

IMAGES = torch.linspace(-2, 2, 2 * 3 * 6 * 6).reshape(2, 3, 6, 6).sin()


def conv(width: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(8, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 8, 1))


Plan = tuple[str, object]
"""A kind of module, and what it is made of: no module yet, so that every example makes its own."""

LEAVES: st.SearchStrategy[Plan] = st.sampled_from(
    [("same", None), ("zeros", None), ("half", None), ("conv", 4), ("conv", 8), ("relu", None)]
)


def _grown(inner: st.SearchStrategy[Plan]) -> st.SearchStrategy[Plan]:
    return st.one_of(
        st.tuples(st.just("menu"), st.lists(inner, min_size=2, max_size=3)),
        st.tuples(st.just("chain"), st.lists(inner, min_size=1, max_size=2)),
        st.tuples(st.just("added"), inner),
    )


PLANS = st.recursive(LEAVES, _grown, max_leaves=6)


def built(plan: Plan) -> nn.Module:
    kind, of = plan
    match kind:
        case "menu":
            return nw.oneof(*map(option, of))  # type: ignore[call-overload]
        case "chain":
            return nn.Sequential(*map(built, of))  # type: ignore[call-overload]
        case "added":
            return Added(built(of))  # type: ignore[arg-type]
        case "conv":
            return conv(of)  # type: ignore[arg-type]
        case "relu":
            return nn.ReLU()
        case "half":
            return nn.Sequential(nn.AvgPool2d(3, 1, 1))
    return nn.Identity()


def option(plan: Plan) -> object:
    return {"zeros": nw.Zeros(), "half": nw.Scaled(0.5)}.get(plan[0]) or built(plan)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.lists(PLANS, min_size=2, max_size=3), min_size=1, max_size=2), st.integers(0, 2**31))
def test_random_menus_keep_the_contract(places, seed):
    torch.manual_seed(0)
    menus = [nw.oneof(*map(option, plans)) for plans in places]
    network = nn.Sequential(nn.Conv2d(3, 8, 1), *menus, nn.Conv2d(8, 4, 1)).eval()
    net = nw.wrap(network, IMAGES, round_to=2)
    assert net._counter._table is not None
    rng = np.random.default_rng(seed)
    some = [net.space.sample(rng) for _ in range(3)]
    nw.testing.check_supernet(net, candidates=some[:2])
    nw.testing.check_supernet(net, candidates=some[2:], formats=["onnx"])
    for candidate in some:
        assert not any(isinstance(module, Menu) for module in net.extract(candidate).modules())
        assert net.count(candidate) == net._counter._trace(candidate)
        assert net.space.candidate({**net.largest, **candidate}) == candidate  # what is not active does not matter
