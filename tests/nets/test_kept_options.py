"""Spaces in which some options of axes are left out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

import netwright as nw
from netwright.core.errors import NetError
from netwright.nets.axes import Kernel, OneOf, RelativeWidth, Width
from netwright.nets.families import cifar_resnet, inverted_residual


def resnet() -> nw.SuperNet:
    return cifar_resnet(14, depths=(1, 2), shares=(0.25, 0.5, 0.75))


def mobile() -> nw.SuperNet:
    return inverted_residual(1, 3, 4, widths=((2, 4, 6), (3, 6)), depths=((1, 2), (1,)))


def in_bits() -> nw.SuperNet:
    net = resnet()
    return net.with_axes([*net.axes, *nw.Bits.of(net, ["ternary", "int8", "float32"])])


class Block(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(width, inner, 1)
        self.widen = nn.Conv2d(inner, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.widen(torch.relu(self.reduce(x)))


def relative() -> nw.SuperNet:
    """A width that is a share of another one."""
    net = nn.Sequential(nn.Conv2d(2, 12, 3), Block(12, 6), nn.Conv2d(12, 1, 1))
    width = Width.tie(net, "width", (4, 8, 12), out_of=["0", "1.widen"], into=["1.reduce", "2"])
    group = Width.tie(net, "inner", (6,), out_of=["1.reduce"], into=["1.widen"])
    inner = RelativeWidth.tabulate("inner", (0.25, 0.5), width, group, lambda share, of: int(share * of))
    return nw.SuperNet(net, [width, inner], torch.randn(2, 2, 5, 5))


@pytest.mark.parametrize("make", [resnet, mobile, in_bits, relative])
def test_what_is_left_is_part_of_the_space_and_counted_alike(make: Callable[[], nw.SuperNet]) -> None:
    torch.manual_seed(0)
    whole, net = make(), make()
    net.module.load_state_dict(whole.module.state_dict())
    kept = {axis.name: axis.options[len(axis.options) // 2 :] for axis in net.axes}
    net.keep_options(kept)
    assert {choice.name: choice.options for choice in net.space} == kept
    assert net.space.size < whole.space.size and net.largest == whole.largest
    rng = np.random.default_rng(0)
    for candidate in [net.smallest, net.largest, *(net.space.sample(rng) for _ in range(4))]:
        assert whole.space.candidate(candidate) == candidate
        assert net.count(candidate) == whole.count(candidate)
        mine, theirs = net.extract(candidate).eval(), whole.extract(candidate).eval()
        with torch.no_grad():
            torch.testing.assert_close(mine(net.example_inputs), theirs(net.example_inputs))
    assert set(net.report.elastic) == {name for name, options in kept.items() if len(options) > 1}


def test_what_cannot_be_left_out_is_said() -> None:
    net = resnet()
    name = net.axes[0].name
    for options, says in (
        ({"nmae": (1,)}, "there is no axis 'nmae'"),
        ({name: (99,)}, "has no option 99; it has"),
        ({name: net.axes[0].options[:1]}, "the whole, stays among its options"),
        ({name: ()}, "the whole, stays among its options"),
    ):
        with pytest.raises(NetError, match=says):
            net.keep_options(options)
    assert len(net.axes[0].options) > 1, "nothing was changed"


def test_menus_keep_their_options() -> None:
    module = nn.Sequential(nw.oneof(a=nn.Linear(4, 4), b=nn.Linear(4, 4)))
    net = nw.SuperNet(module, [OneOf.of(module, "0")], torch.zeros(1, 4))
    with pytest.raises(NetError, match="build a smaller menu"):
        net.keep_options({net.axes[0].name: ("b",)})


def test_windows_that_are_made_of_larger_ones_lose_the_smallest_first() -> None:
    axis = Kernel("kernel", "0", (3, 5, 7), transformed=True)
    assert axis.keeping((5, 7)).options == (5, 7)
    with pytest.raises(NetError, match="leave out the smallest"):
        axis.keeping((3, 7))
