"""Families of menus: NAS-Bench-201's cells, and a block space of inverted residuals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import netwright as nw
from netwright.core.errors import NetError
from netwright.nets.families.mobile_menus import MobileMenus, mobile_menus
from netwright.nets.families.mobilenet import Bottleneck
from netwright.nets.families.nas_bench_201 import EDGES, OPERATIONS, CellNet, nas_bench_201
from netwright.testing import check_supernet

MENUS = {"expansions": (1, 2), "kernels": (3, 5), "head": 16}


def cells() -> nw.SuperNet:
    return nas_bench_201(5, 8, (4, 4), 1)


def blocks() -> nw.SuperNet:
    return mobile_menus(5, 16, ((16, 2, 1), (24, 2, 2)), **MENUS)  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [cells, blocks])
def test_the_contract_holds(make: Callable[[], nw.SuperNet]) -> None:
    torch.manual_seed(0)
    net = make()
    shape = net.example_inputs.shape[1:]
    nw.recalibrate(net.module, [torch.randn(16, *shape)])
    inputs = torch.randn(2, *shape)
    check_supernet(net, candidates=1, inputs=inputs)
    some = [net.space.sample(np.random.default_rng(3))]
    check_supernet(net, candidates=some, inputs=inputs, trains=False, formats=("onnx",))


def test_cells_count_what_the_benchmark_lists() -> None:
    """Of its dearest and cheapest 220.11968 and 7.78304 M operations, 1.531546 and 0.073306 M parameters."""
    net = nas_bench_201()
    assert net.space.size == 5**6 == 15_625
    for operation, macs, params in (("nor_conv_3x3", 220_119_680, 1_531_546), ("none", 7_783_040, 73_306)):
        counts = net.count({f"edge{a}_{b}": operation for a, b in EDGES})
        assert (counts.macs, counts.params) == (macs, params)


def test_the_same_operation_runs_in_every_cell_and_no_menu_is_left() -> None:
    net = cells()
    mixed = dict(zip((f"edge{a}_{b}" for a, b in EDGES), (*OPERATIONS, "none"), strict=True))
    network = net.extract(mixed)
    assert not any(type(module).__name__ == "Menu" for module in network.modules())
    first, second = (network.layers[i].edges for i in (0, 2))  # type: ignore[index, union-attr]
    for a, b in EDGES:
        assert str(first[f"{a}_{b}"]) == str(second[f"{a}_{b}"])
    assert isinstance(first["0_2"], nn.Identity) and isinstance(first["1_2"], nn.AvgPool2d)
    none = net.extract({f"edge{a}_{b}": "none" for a, b in EDGES})
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(none(images)[0], none(images)[1])  # nothing of the image is left


def test_a_chosen_block_is_the_network_built_with_it() -> None:
    net = blocks()
    assert [len(choice.options) for choice in net.space] == [5, 5, 4, 5]  # where the shape changes, a block must run
    chosen = {"block0": "skip", "block1": "mb1_k5", "block2": "mb2_k3", "block3": "skip"}
    network = net.extract(chosen)
    built = MobileMenus(5, ((16, 2, 1), (24, 2, 2)), **MENUS)  # type: ignore[arg-type]
    picked = [nn.Identity(), Bottleneck(16, 16, 16, 5, 1, 1e-3), Bottleneck(16, 32, 24, 3, 2, 1e-3), nn.Identity()]
    built.blocks = nn.Sequential(*picked)
    built.load_state_dict(network.state_dict())
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(built.eval()(images), network.eval()(images))
    assert net.count(chosen).params == sum(p.numel() for p in built.parameters())


def test_the_spaces_of_the_papers() -> None:
    choices = [len(options) for options in (menu.options for menu in MobileMenus(10).blocks)]  # type: ignore[union-attr]
    assert choices.count(7) == 15 and choices.count(6) == 6  # ProxylessNAS: 6 operations in each of 21 blocks, or none


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: nas_bench_201(cells=0), "cells is a number above 0"),
        (lambda: nas_bench_201(channels=()), "channels has a number for each stage"),
        (lambda: mobile_menus(kernels=(3, 4)), "windows are odd"),
        (lambda: mobile_menus(kernels=(1, 3)), r"kernels are different whole numbers of 3 or more, not \[1, 3\]"),
        (lambda: mobile_menus(expansions=(3,), kernels=(3,)), "a menu has two options or more"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(call: Callable[[], Any], told: str) -> None:
    with pytest.raises(NetError, match=told):
        call()


def test_cells_are_summed_as_the_paper_says() -> None:
    network = CellNet(3, (4,), 1).eval()
    cell = network.layers[0]
    x = torch.randn(2, 4, 6, 6)
    ran = {(a, b): cell.edges[f"{a}_{b}"] for a, b in EDGES}  # type: ignore[index, union-attr]
    one = ran[0, 1](x)
    two = ran[0, 2](x) + ran[1, 2](one)
    assert torch.allclose(cell(x), ran[0, 3](x) + ran[1, 3](one) + ran[2, 3](two), atol=1e-5)
