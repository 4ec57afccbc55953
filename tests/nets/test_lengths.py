"""Axes hold for inputs of other sizes than the example's."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import netwright as nw
from netwright.nets.inputs import tensors_in
from netwright.nets.lengths import larger, other_lengths, resized, smaller


class Steps(nn.Module):
    """Treats its channels as ``change`` says, for sequences of some lengths only."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.enter, self.middle, self.leave = nn.Linear(4, 32), nn.Linear(32, 32), nn.Linear(32, 3)
        self.change = change

    def forward(self, x: Tensor) -> Tensor:
        return self.leave(F.relu(self.middle(self.change(F.relu(self.enter(x))))))


def ramp(x: Tensor) -> Tensor:
    """Channels weighed by their number in short sequences."""
    return x * (1 + torch.arange(x.shape[-1]) / 8) if x.shape[1] < 8 else x


def shaped(x: Tensor) -> Tensor:
    """A number of channels that the code knows, in short sequences."""
    return x.reshape(*x.shape[:2], 32) if x.shape[1] < 8 else x


@pytest.mark.parametrize(("change", "told"), [(ramp, "permuting its channels"), (shaped, "invalid for input")])
def test_what_holds_for_the_example_alone_is_no_axis(change: Callable[[Tensor], Tensor], told: str) -> None:
    net = nw.wrap(Steps(change).eval(), torch.randn(2, 12, 4))
    assert net.report.elastic == {"middle.width": (8, 16, 24, 32)}
    assert "where the inputs have another size (6 for 12 in dimension 1 of input 0)" in net.report.rigid["enter"]
    assert told in net.report.rigid["enter"]


class Recent(nn.Module):
    """Adds to long sequences what lies further back in a table than the example reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.leave = nn.Linear(4, 32), nn.Linear(32, 3)
        self.table, self.far = nn.Parameter(torch.randn(48, 32)), nn.Parameter(torch.randn(32))

    def forward(self, x: Tensor) -> Tensor:
        n = x.shape[1]
        h = self.enter(x) + self.table[:n]
        return self.leave(h.cumsum(-1) if n > 16 else h) + (self.far * h).mean()


def test_longer_inputs_are_tried_where_the_example_leaves_something_out() -> None:
    net = nw.wrap(Recent().eval(), torch.randn(2, 12, 4))
    assert not net.report.elastic
    assert "24 for 12 in dimension 1 of input 0" in net.report.rigid["enter"]


def wanted(*allowed: Callable[[list[int]], bool]) -> Callable[..., bool]:
    def runs(inputs: object) -> bool:
        return all(test(list(t.shape)) for test, t in zip(allowed, tensors_in(inputs), strict=True))

    return runs


@pytest.mark.parametrize(
    ("shapes", "change", "runs", "found"),
    [
        ([(2, 3, 8, 8)], smaller, wanted(lambda s: s[1] == 3), {(0, 2): 4, (0, 3): 4}),
        ([(2, 9), (2, 9)], larger, wanted(lambda s: s[1] < 12, lambda s: s[1] < 12), {(0, 1): 10, (1, 1): 10}),
        ([(2, 8, 8)], smaller, wanted(lambda s: s[2] == 8), {(0, 1): 4}),
        ([(4, 8)], smaller, wanted(lambda s: s[1] == 8), {(0, 0): 2}),
        ([(4, 8)], smaller, wanted(lambda s: s == [4, 8]), {}),
    ],
)
def test_which_sizes_change(
    shapes: list[tuple[int, ...]],
    change: Callable[[int], tuple[int, ...]],
    runs: Callable[..., bool],
    found: dict[tuple[int, int], int],
) -> None:
    inputs = tuple(torch.arange(float(torch.Size(shape).numel())).reshape(shape) for shape in shapes)
    assert other_lengths(inputs, change, lambda lengths: runs(resized(inputs, lengths))) == found


def test_resized_repeats_what_there_is() -> None:
    x = torch.arange(6).reshape(2, 3)
    assert resized((x, None), {(0, 1): 7})[0].tolist() == [[0, 1, 2, 0, 1, 2, 0], [3, 4, 5, 3, 4, 5, 3]]
    assert resized({"x": x}, {(0, 0): 1, (0, 1): 2})["x"].tolist() == [[0, 1]]
    assert resized(x, {}) is x


@pytest.mark.parametrize("size", range(2, 9))
def test_changes_are_changes(size: int) -> None:
    assert all(0 < n < size for n in smaller(size))
    assert all(n > size for n in larger(size))
    assert all(a != b for a, b in pairwise(smaller(size)))
