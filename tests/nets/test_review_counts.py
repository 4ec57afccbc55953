"""A counter that meets an operator that it does not know says so."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import netwright as nw


@torch.library.custom_op("netwright_test::product", mutates_args=())
def product(a: Tensor, b: Tensor) -> Tensor:
    return a @ b


@product.register_fake
def _(a: Tensor, b: Tensor) -> Tensor:
    return a.new_empty(a.shape[0], b.shape[1])


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight, self.head = nn.Parameter(torch.ones(8, 32)), nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.ops.netwright_test.product(x, self.weight))


def test_operators_of_other_libraries_are_named() -> None:
    net = nw.SuperNet(Net(), [], torch.ones(2, 8))
    counts = net.count(net.largest)
    assert counts.macs == 2 * 32 * 4
    assert counts.uncounted == ("netwright_test.product",)
