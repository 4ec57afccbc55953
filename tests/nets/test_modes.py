"""What holds in evaluation and breaks in training is no axis."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import netwright as nw
from netwright.nets.isolation import State


class Modes(nn.Module):
    """Does something more to its second layer's channels while it is trained."""

    def __init__(self, more: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.norm, self.b, self.c = nn.Linear(8, 32), nn.BatchNorm1d(32), nn.Linear(32, 32), nn.Linear(32, 4)
        self.drop, self.more = nn.Dropout(0.2), more

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.b(self.drop(torch.relu(self.norm(self.a(x))))))
        return self.c(self.more(x) if self.training else x)


def cut_of(more: Callable[[Tensor], Tensor]) -> set[str]:
    net = nw.wrap(Modes(more).eval(), torch.randn(4, 8))
    with net.active(net.smallest) as module:
        module.train()(torch.randn(4, 8)).sum().backward()
    nw.testing.check_supernet(net, candidates=1)
    return set(net.report.elastic)


@pytest.mark.parametrize(
    "more",
    [
        lambda x: x.view(-1, 32) * 2,
        lambda x: x.flip(-1),
        lambda x: x * torch.linspace(0.5, 1.5, x.shape[-1]),
        lambda x: x + 0.1 * torch.randn(32),
        lambda x: F.dropout(x, 0.5) * torch.linspace(0.5, 1.5, 32),
    ],
)
def test_what_breaks_in_training_is_no_axis(more: Callable[[Tensor], Tensor]) -> None:
    assert cut_of(more) == {"a.width"}


@pytest.mark.parametrize(
    "more",
    [
        lambda x: F.dropout(x, 0.5),
        lambda x: x + 0.1 * torch.randn_like(x),
        lambda x: x * torch.empty(len(x), 1).bernoulli_(0.8),
        lambda x: x + torch.empty_like(x).normal_(),
        lambda x: 0.7 * x + 0.3 * x[torch.randperm(len(x))],
        lambda x: F.batch_norm(x, None, None, training=True),
    ],
)
def test_what_training_draws_hinders_nothing(more: Callable[[Tensor], Tensor]) -> None:
    assert cut_of(more) == {"a.width", "b.width"}


class Scaled(nn.Module):
    """A buffer that is used in training only, with a value for each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.c = nn.Linear(8, 32), nn.Linear(32, 4)
        self.register_buffer("scale", torch.rand(32) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        return self.c(x * self.scale if self.training else x)


def test_a_buffer_of_training_is_cut_with_the_rest() -> None:
    net = nw.wrap(Scaled().eval(), torch.randn(4, 8))
    assert ("scale", 0, 0, 32) in net.axes[0].regions(net.index)
    small = net.extract(net.smallest).train()
    assert small(torch.randn(4, 8)).shape == (4, 4)


def test_statistics_are_put_back_though_they_did_not_move_at_first() -> None:
    norm = nn.BatchNorm1d(4)
    state = State(norm)
    for mode in (False, True):
        norm.train(mode)
        with state.kept(), torch.no_grad():
            norm(torch.randn(8, 4))
    assert torch.equal(norm.running_mean, torch.zeros(4))


class Dropping(nn.Module):
    """Leaves half of its blocks out at random in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 16)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16)) for _ in range(4))
        self.last = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for block in self.blocks:
            if self.training and torch.rand([]) < 0.5:
                continue
            x = x + block(x)
        return self.last(x)


@pytest.mark.parametrize("seed", range(4))
def test_layers_that_training_leaves_out_at_random_are_elastic(seed: int) -> None:
    torch.manual_seed(seed)
    net = nw.wrap(Dropping(), torch.randn(2, 8))
    names = {axis.name for axis in net.axes}
    assert {f"blocks.{i}.0.width" for i in range(4)} <= names, net.report
