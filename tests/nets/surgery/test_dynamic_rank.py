"""Ranks that training finds."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import netwright as nw
from netwright.core.errors import NetError
from netwright.nets.axes.rank import Factorised, rank_within
from netwright.nets.surgery.dynamic_rank import DynamicLinear


@given(st.lists(st.floats(0, 10, width=32), min_size=1, max_size=8), st.floats(0, 0.99))
def test_no_lower_rank_keeps_what_is_to_be_kept(values: list[float], tolerance: float) -> None:
    ordered = sorted(values, reverse=True)
    whole = math.sqrt(sum(v * v for v in ordered))
    rank = rank_within(torch.tensor(ordered, dtype=torch.float64), tolerance)

    def lost(kept: int) -> float:
        return math.sqrt(sum(v * v for v in ordered[kept:]))

    assert lost(rank) <= tolerance * whole * (1 + 1e-9) or rank == len(ordered)
    assert rank == 1 or lost(rank - 1) > tolerance * whole * (1 - 1e-9)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(12, 16), nn.GELU(), nn.Linear(16, 12, bias=False), nn.LayerNorm(12), nn.Linear(12, 3)
    )


def test_it_computes_what_it_computed_before_and_after() -> None:
    model, x, y = network(), torch.randn(20, 12), torch.randint(3, (20,))
    before = model(x)
    training = nw.DynamicRanks(model, tolerance=0.3, rate=0.2, except_=["4"])
    assert training.ranks == {"0": 12, "2": 12}
    torch.testing.assert_close(model(x), before, rtol=1e-4, atol=1e-5)
    optimizer = torch.optim.SGD(training.parameters(), 0.1)
    losses = [training.step(lambda: nn.functional.cross_entropy(model(x), y), optimizer) for _ in range(20)]
    assert losses[-1] < losses[0] - 0.1
    low = training.ranks
    assert all(rank < 12 for rank in low.values())
    for layer in training.layers.values():
        for side in (layer.left, layer.right):
            torch.testing.assert_close(side.T @ side, torch.eye(layer.rank), rtol=0, atol=1e-4)
    wanted = model(x)
    torch.testing.assert_close(nw.fold(model, x[:2])(x), wanted, rtol=1e-4, atol=1e-4)
    made = training.finish()
    torch.testing.assert_close(model(x), wanted, rtol=1e-4, atol=1e-4)
    for path, rank in low.items():
        layer = model.get_submodule(path)
        assert isinstance(layer, Factorised) == (path in made)
        assert path not in made or layer[0].out_features == made[path] == rank  # type: ignore[index]


def test_ranks_that_were_found_are_an_axis() -> None:
    model, x = network(), torch.randn(4, 12)
    training = nw.DynamicRanks(model, tolerance=0.6, only=["0", "2"])
    target = torch.randn(4, 12)
    training.step(lambda: (model[:3](x) - target).square().mean())  # type: ignore[index]
    assert set(training.finish()) == {"0", "2"}
    net = nw.wrap(model.eval(), x, axes=["rank"], round_to=1)
    assert {axis.name for axis in net.axes} == {"0.rank", "2.rank"}
    nw.testing.check_supernet(net, candidates=1, tolerance=1e-4)


def plain_step(u: Tensor, s: Tensor, v: Tensor, gradient: object, rate: float, rank: int) -> Tensor:
    """The integrator, written down with whole gradients of the weight."""
    at = u @ s @ v.T
    whole = gradient(at)  # type: ignore[operator]
    k, other = u @ s - rate * whole @ v, v @ s.T - rate * whole.T @ u
    left, right = (torch.linalg.qr(torch.cat(pair, 1))[0] for pair in ((k, u), (other, v)))
    middle = left.T @ at @ right
    middle = middle - rate * left.T @ gradient(left @ middle @ right.T) @ right  # type: ignore[operator]
    p, values, q = torch.linalg.svd(middle)
    return left @ p[:, :rank] @ values[:rank].diag() @ q[:rank] @ right.T


def test_a_step_is_that_of_the_integrator() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(7, 5, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(torch.randn(5, 2) @ torch.randn(2, 7))
    model, x, y = nn.Sequential(layer), torch.randn(30, 7).double(), torch.randn(30, 5).double()
    training = nw.DynamicRanks(model, tolerance=1e-9, rate=0.05)
    loss = lambda: (model(x) - y).square().mean()  # noqa: E731
    for _ in range(2):
        found: DynamicLinear = training.layers["0"]
        before = [t.detach() for t in (found.left, found.middle, found.right)]
        training.step(loss)
        gradient = lambda w: 2 / y.numel() * (x @ w.T - y).T @ x  # noqa: E731
        wanted = plain_step(*before, gradient, 0.05, found.rank)
        torch.testing.assert_close(found.left @ found.middle @ found.right.T, wanted)


def test_the_rank_of_what_is_to_be_learned_is_found() -> None:
    torch.manual_seed(0)
    truth = torch.randn(10, 3) @ torch.randn(3, 16) / 4
    model, x = nn.Sequential(nn.Linear(16, 10, bias=False)), torch.randn(200, 16)
    training = nw.DynamicRanks(model, tolerance=0.05, rate=0.5)
    losses = [training.step(lambda: (model(x) - x @ truth.T).square().mean()) for _ in range(40)]
    assert training.ranks == {"0": 3} and losses[-1] < 0.01 * losses[0]


def test_what_has_no_rank_to_find_is_told() -> None:
    for given_, told in (
        ({"only": ["conv"]}, "no module matches 'conv'"),
        ({"only": ["1"]}, "no linear layer that stands alone is left"),
        ({"tolerance": 1.0}, "tolerance= is a share from 0 to below 1"),
        ({"rate": 0.0}, "rate= a number above 0"),
    ):
        with pytest.raises(NetError, match=told):
            nw.DynamicRanks(network(), **given_)  # type: ignore[arg-type]
