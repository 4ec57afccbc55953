"""Experts that cost nothing, and experts that hold their weights once."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netwright as nw
from netwright.core.errors import NetError
from netwright.nets.surgery.free_experts import ConstantExpert


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate, self.up, self.down = nn.Linear(8, 24), nn.Linear(8, 24), nn.Linear(24, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(torch.nn.functional.silu(self.gate(x)) * self.up(x))


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.enter, self.ffn, self.leave = nn.Linear(4, 8), Gated(), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        return self.leave(x + self.ffn(x))


def mixture(active: int = 2) -> tuple[Any, Tensor]:
    torch.manual_seed(0)
    module, x = Mixed().eval(), torch.randn(6, 5, 4)
    nw.to_experts(module, "ffn", 4, [x])
    module.ffn.active = active  # type: ignore[union-attr]
    return module, x


def experts(module: nn.Module) -> nw.Experts:
    return nw.Experts.of(module, "experts", (3, 4), router="ffn.router", experts="ffn.experts")


# -- free experts --------------------------------------------------------------------------------------------------


def test_free_experts_change_nothing_until_they_are_chosen() -> None:
    module, x = mixture()
    before = module(x)
    nw.add_free_experts(module, "ffn", ["zero", "copy", "constant"], [x])
    assert torch.equal(module(x), before)
    nw.testing.check_axis(module, experts(module), x)
    small = nw.SuperNet(module, [experts(module)], x).extract({"experts": 3})
    assert len(small.ffn.free) == 3  # type: ignore[union-attr, arg-type]


def test_a_share_of_the_tokens_takes_them_and_each_gives_what_it_is() -> None:
    for kind in ("zero", "copy", "constant"):
        module, x = mixture()
        rows = module.enter(x).reshape(-1, 8).detach()
        nw.add_free_experts(module, "ffn", [kind], [x], share=0.5)
        ffn = module.ffn
        if kind == "constant":
            nn.init.normal_(ffn.free[0].constant)
        with torch.no_grad():
            best = ffn.scores(rows).topk(2, 1).indices
            assert 0.4 < float((best == 4).any(1).float().mean()) < 0.6
            wanted = []
            for row, own in zip(rows, best.tolist(), strict=True):
                parts = [ffn.experts[e](row) for e in own if e < 4]
                if 4 in own and kind == "copy":
                    parts.append(row)
                if 4 in own and kind == "constant":
                    share = (ffn.free[0].weigh.weight @ row).softmax(0)
                    parts.append(share[0] * row + share[1] * ffn.free[0].constant)
                wanted.append(ffn.bias + sum(parts))
            torch.testing.assert_close(ffn(rows), torch.stack(wanted))


def test_free_experts_learn() -> None:
    module, x = mixture()
    nw.add_free_experts(module, "ffn", ["zero", "constant"], [x], share=0.5)
    module.train()(x).square().sum().backward()
    for tensor in module.ffn.free_router.parameters():
        assert tensor.grad.abs().sum() > 0
    assert isinstance(module.ffn.free[1], ConstantExpert)
    assert module.ffn.free[1].constant.grad.abs().sum() > 0


def test_what_takes_no_free_experts_is_told() -> None:
    module, x = mixture()
    for path, kinds, share, told in (
        ("enter", ["zero"], 0.0, "enter is a Linear; add_free_experts takes what to_experts has made"),
        ("ffn", [], 0.0, "kinds= is a list of zero, copy, constant, and it is empty"),
        ("ffn", ["nothing"], 0.0, "there is no expert 'nothing'; known are: zero, copy, constant"),
        ("ffn", ["zero"], 1.0, "share= is a share of the tokens"),
    ):
        with pytest.raises(NetError, match=told):
            nw.add_free_experts(module, path, kinds, [x], share=share)
    module.ffn.active = 4
    with pytest.raises(NetError, match="runs all its 4 experts for each token; set its attribute active"):
        nw.add_free_experts(module, "ffn", ["zero"], [x])
    module.ffn.active = 2
    nw.add_free_experts(module, "ffn", ["zero"], [x])
    with pytest.raises(NetError, match="has such experts already"):
        nw.add_free_experts(module, "ffn", ["zero"], [x])


# -- merging -------------------------------------------------------------------------------------------------------


def reordered(expert: nn.Module) -> nn.Module:
    """The same expert, its neurons in another order."""
    other: Any = copy.deepcopy(expert)
    order = torch.randperm(6)
    for layer in (other.gate, other.up):
        layer.weight.data, layer.bias.data = layer.weight.data[order], layer.bias.data[order]
    other.down.weight.data = other.down.weight.data[:, order]
    return other


def twins() -> tuple[Any, Tensor]:
    """Experts 0 and 2, and 1 and 3, are alike but for the order of their neurons, and so are their scores."""
    module, x = mixture(1)
    held, router = module.ffn.experts, module.ffn.router
    held[2], held[3] = reordered(held[0]), reordered(held[1])
    with torch.no_grad():
        router.weight[2:] = router.weight[:2] * 1.1
    return module, x


def test_experts_that_are_alike_are_merged_and_compute_what_they_computed() -> None:
    module, x = twins()
    before, held = module(x), sum(p.numel() for p in module.parameters())
    leaders = nw.merge_experts(module, "ffn.router", "ffn.experts", 2, [x])
    assert leaders[0] == leaders[2] != leaders[1] == leaders[3]
    torch.testing.assert_close(module(x), before, rtol=1e-4, atol=1e-5)
    one = sum(p.numel() for p in module.ffn.experts[0].parameters())
    assert held - sum(p.numel() for p in module.parameters()) == 2 * one
    net = nw.SuperNet(module, [], x)
    nw.testing.check_supernet(net, candidates=[net.largest])
    assert net.count(net.largest).params == held - 2 * one
    with pytest.raises(NetError, match=r"some of ffn\.experts hold the same weights"):
        experts(module)


def test_a_group_is_the_mean_of_its_members_by_how_often_they_are_chosen() -> None:
    module, x = mixture(2)
    with torch.no_grad():
        scores = module.ffn.router(module.enter(x).reshape(-1, 8))
    often = torch.zeros(4)
    for row in scores.topk(2, 1).indices:
        often[row] += 1
    ups = [each.down.bias is None and each.up.bias.detach().sum() for each in module.ffn.experts]
    leaders = nw.merge_experts(module, "ffn.router", "ffn.experts", 1, [x], active=2)
    assert set(leaders) == {int(often.argmax())}
    wanted = sum(u * n for u, n in zip(ups, often, strict=True)) / often.sum()
    for each in module.ffn.experts:  # a sum over neurons, which no order changes
        assert float(each.up.bias.detach().sum()) == pytest.approx(float(wanted), rel=1e-4)


def test_what_cannot_be_merged_is_told() -> None:
    module, x = mixture()
    for router, held, count, told in (
        ("ffn.router", "ffn", 2, "ffn a ExpertMixture|ffn an ExpertMixture"),
        ("leave", "ffn.experts", 2, "leave scores 3 experts, ffn.experts holds 4"),
        ("ffn.router", "ffn.experts", 4, "count is a number from 1 to 3 for 4 experts, not 4"),
        ("ffn.router", "nothing", 2, "no module 'nothing'"),
    ):
        with pytest.raises(NetError, match=told):
            nw.merge_experts(module, router, held, count, [x])
    module.ffn.experts[1] = Gated()
    with pytest.raises(NetError, match="are not all of one size"):
        nw.merge_experts(module, "ffn.router", "ffn.experts", 2, [x])
