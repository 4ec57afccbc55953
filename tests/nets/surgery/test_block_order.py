"""Which blocks a depth keeps: the first ones, or those that change most of what goes through them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netwright as nw
from netwright.core.errors import CallError, NetError
from netwright.nets.families.cifar_resnet import cifar_resnet
from netwright.nets.surgery import block_importance
from netwright.testing import check_axis, check_supernet


class Block(nn.Module):
    """Adds to what it takes, in place or not, and gives what stands beside it on."""

    def __init__(self, scale: float, in_place: bool) -> None:
        super().__init__()
        self.linear, self.scale, self.in_place = nn.Linear(6, 6), scale, in_place

    def forward(self, other: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.scale * torch.tanh(self.linear(x))
        if self.in_place:
            x += y
            return other, x
        return other, x + y


class Net(nn.Module):
    def __init__(self, scales: tuple[float, ...], in_place: bool = False) -> None:
        super().__init__()
        self.enter, self.leave = nn.Linear(4, 6), nn.Linear(6, 3)
        self.blocks = nn.ModuleList(Block(scale, in_place) for scale in scales)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        other = x[:, :3].tanh()
        for block in self.blocks:
            other, x = block(other, x=x)
        return self.leave(x) + other


def made(in_place: bool = False) -> nw.SuperNet:
    torch.manual_seed(0)
    axis = nw.Depth("depth", tuple(f"blocks.{i}" for i in range(4)), (1, 2, 3, 4), ((0, "x"),) * 4)
    return nw.SuperNet(Net((0.5, 0.0, 2.0, 1.0), in_place).eval(), [axis], torch.randn(2, 4))


@pytest.mark.parametrize("order", [("2", "0", "1"), ("1", "2", "0")])
def test_an_order_keeps_the_contract(order: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(*(nn.TransformerEncoderLayer(8, 2, 8, batch_first=True) for _ in range(3))).eval()
    axis = nw.Depth("depth", ("0", "1", "2"), (1, 2, 3), order=order)
    check_axis(module, axis, torch.randn(2, 3, 8))
    net = nw.SuperNet(module, [axis], torch.randn(2, 3, 8))
    assert [*net.extract({"depth": 2}).state_dict()] == [name for name in module.state_dict() if name[0] in order[:2]]


def test_an_order_names_the_blocks() -> None:
    with pytest.raises(NetError, match=r"order= names the blocks in another order, each once; got \['a', 'a'\]"):
        nw.Depth("depth", ("a", "b"), (1, 2), order=("a", "a"))


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("by", ["outputs", "influence"])
def test_the_least_important_goes_first(by: Any, in_place: bool) -> None:
    net = made(in_place)
    x = torch.randn(16, 4)
    module: Any = net.module
    found = block_importance(net, [(x, torch.zeros(16))], by)
    with torch.no_grad():
        whole = module(x)
        before = module.enter(x)
        after = before + 0.5 * torch.tanh(module.blocks[0].linear(before))
        influence = float(1 - torch.cosine_similarity(before, after).mean())
        module.blocks[0].scale = 0.0
        change = float(((module(x) - whole) / whole.std(correction=0)).square().mean())
        module.blocks[0].scale = 0.5
    assert found["blocks.0"] == pytest.approx({"outputs": change, "influence": influence}[by], rel=1e-4)
    assert found["blocks.1"] == pytest.approx(0, abs=1e-9)
    ordered = nw.sort_blocks(net, [x], by)
    (depth,) = (axis for axis in ordered.axes if isinstance(axis, nw.Depth))
    assert sorted(depth.order, key=found.__getitem__, reverse=True) == list(depth.order)
    assert depth.order[-1] == "blocks.1" and net.axes[0].order[-1] == "blocks.3"  # type: ignore[attr-defined]
    with torch.no_grad(), ordered.active({"depth": 3}) as without:  # what adds nothing is not missed
        assert torch.equal(without(x), module(x))
    if not in_place:
        check_supernet(ordered)


def test_blocks_that_change_the_shape_stay_first() -> None:
    torch.manual_seed(0)
    net = nw.sort_blocks(cifar_resnet(20, shares=()), [torch.randn(4, 3, 32, 32)])
    orders = [axis.order for axis in net.axes if isinstance(axis, nw.Depth)]
    assert [order[0] for order in orders[1:]] == ["layer2.0", "layer3.0"]
    importance = block_importance(net, [torch.randn(4, 3, 32, 32)])
    assert "layer2.0" not in importance and "layer1.0" in importance
    check_supernet(net, candidates=1)


def test_there_must_be_blocks_and_batches() -> None:
    with pytest.raises(NetError, match="has no Depth axis"):
        nw.sort_blocks(nw.SuperNet(nn.Linear(2, 2), [], torch.zeros(1, 2)), [torch.zeros(1, 2)])
    with pytest.raises(NetError, match="block_importance needs batches"):
        nw.sort_blocks(made(), [])
    with pytest.raises(CallError, match="by is 'outputs' or 'influence', not 'size'"):
        nw.sort_blocks(made(), [torch.zeros(1, 4)], "size")  # type: ignore[arg-type]
