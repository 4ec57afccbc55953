"""A width that is a share of another one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from netwright.core.errors import NetError
from netwright.nets.axes import Axis, Depth, RelativeWidth, Width
from netwright.nets.importance import sort_channels
from netwright.nets.supernet import SuperNet
from netwright.testing.nets import check_supernet


class Block(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(width, inner, 1)
        self.widen = nn.Conv2d(inner, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.widen(torch.relu(self.reduce(x)))


def parts() -> tuple[nn.Module, list[Axis]]:
    """A stage of two blocks; each block's inner width is a half or a third of the stage's, rounded down."""
    net = nn.Sequential(nn.Conv2d(2, 12, 3), Block(12, 6), Block(12, 6), nn.Conv2d(12, 1, 1))
    width = Width.tie(net, "width", (5, 8, 12), out_of=["0", "1.widen", "2.widen"], into=["1.reduce", "2.reduce", "3"])
    axes: list[Axis] = [Depth("depth", ("1", "2"), (1, 2)), width]
    for block in ("1", "2"):
        group = Width.tie(net, "inner", (6,), out_of=[f"{block}.reduce"], into=[f"{block}.widen"])
        axes.append(
            RelativeWidth.tabulate(f"{block}.inner", (0.34, 0.5), width, group, lambda share, of: int(share * of))
        )
    return net, axes


def make() -> SuperNet:
    net, axes = parts()
    return SuperNet(net, axes, torch.randn(1, 2, 7, 7))


def test_the_share_is_of_what_the_other_choice_leaves() -> None:
    net = make()
    assert net.space.size == 3 * (2 + 4)
    for candidate in net.space.enumerate():
        network: Any = net.extract(candidate)
        for block in range(1, 1 + candidate["depth"]):  # type: ignore[operator]
            made = network[block].reduce.out_channels
            assert made == int(candidate[f"{block}.inner"] * candidate["width"])  # type: ignore[operator]
    check_supernet(net, inputs=torch.randn(3, 2, 7, 7), candidates=list(net.space.enumerate()))


def test_its_channels_are_sorted_too() -> None:
    net = make()
    x = torch.randn(2, 2, 7, 7)
    before = net.module(x)
    sort_channels(net)
    torch.testing.assert_close(net.module(x), before)
    norms = net.module[1].reduce.weight.abs().sum((1, 2, 3)) / net.module[1].reduce.weight.abs().sum()  # type: ignore[index, union-attr]
    reads = net.module[1].widen.weight.abs().sum((0, 2, 3)) / net.module[1].widen.weight.abs().sum()  # type: ignore[index, union-attr]
    assert torch.equal((norms + reads).argsort(descending=True), torch.arange(6))


def test_an_axis_that_is_not_named_stays_whole() -> None:
    net = make()
    assert net.cut_of({"1.inner": 0.34}).shape("1.reduce.weight", (6, 12, 1, 1)) == (4, 12, 1, 1)
    assert net.cut_of({"width": 5}).shape("1.reduce.weight", (6, 12, 1, 1)) == (6, 5, 1, 1)


def test_shares_that_do_not_fit_are_refused() -> None:
    net, (depth, width, share, *_) = parts()
    x = torch.randn(1, 2, 7, 7)
    with pytest.raises(NetError, match="reads 'width', which is not an axis"):
        SuperNet(net, [depth, share], x)
    for wrong in (
        lambda share, of: int(share * of) + 1,  # more than there are
        lambda share, of: int(share * of) // 2,  # none
        lambda share, of: int(share * of) - 1,  # never all
        lambda share, of: of // 2,  # two options for one network
    ):
        with pytest.raises(NetError, match=r"'inner'.*ascending.*where 'width' is (5|12); got"):
            RelativeWidth.tabulate("inner", (0.34, 0.5), width, share.group, wrong)  # type: ignore[attr-defined]
