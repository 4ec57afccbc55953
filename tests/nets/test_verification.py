"""Verification of dependency groups on networks that do not take every kind of noise."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import netwright as nw


class OwnState(nn.Module):
    """Begins with a state of zeros in the default precision."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(8, 32, batch_first=True), nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        zeros = torch.zeros(1, len(x), self.lstm.hidden_size)
        return self.head(self.lstm(x, (zeros, zeros))[0][:, -1])


class Casts(nn.Module):
    """Brings its activations to single precision."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 32), nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(F.relu(self.first(x)).float())


class Causal(nn.Module):
    """A language model whose mask is a buffer of zeros and ``blocked``."""

    def __init__(self, blocked: float) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(50, 32), nn.Linear(32, 50)
        self.layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, norm_first=True)
        self.register_buffer("mask", torch.full((8, 8), blocked).triu(1), persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.layer(self.embed(ids), src_mask=self.mask))


@pytest.mark.parametrize(
    ("make", "inputs", "name"),
    [
        (OwnState, torch.randn(2, 5, 8), "lstm.width"),
        (Casts, torch.randn(2, 8), "first.width"),
    ],
)
def test_networks_that_run_in_single_precision_only(make: Callable[[], nn.Module], inputs: Tensor, name: str) -> None:
    net = nw.wrap(make(), inputs)
    assert name in net.report.elastic
    nw.testing.check_supernet(net)


@pytest.mark.parametrize("blocked", [float("-inf"), torch.finfo(torch.float32).min])
def test_masks_take_no_noise(blocked: float) -> None:
    ids = torch.randint(0, 50, (2, 8), generator=torch.Generator().manual_seed(0))
    net = nw.wrap(Causal(blocked), ids)
    assert {"embed.width", "layer.linear1.width"} <= net.report.elastic.keys()
    nw.testing.check_supernet(net)


class Particular(nn.Module):
    """Takes only numbers between two."""

    def __init__(self, most: float) -> None:
        super().__init__()
        self.first, self.second, self.most = nn.Linear(8, 32), nn.Linear(32, 4), most

    def forward(self, x: Tensor) -> Tensor:
        if x.abs().max() > self.most:
            raise ValueError(f"x must lie between -{self.most} and {self.most}")
        return self.second(F.relu(self.first(x)))


def test_a_network_that_cannot_run_on_noise_is_rigid_and_says_why() -> None:
    net = nw.wrap(Particular(0.0), torch.zeros(4, 8))
    assert "x must lie between -0.0 and 0.0" in net.report.rigid["first"]


@pytest.mark.parametrize("inputs", [torch.zeros(4, 8), torch.rand(4, 8, generator=torch.Generator().manual_seed(0))])
def test_inputs_of_a_range_stay_in_it(inputs: Tensor) -> None:
    net = nw.wrap(Particular(1.0), inputs)
    assert "first.width" in net.report.elastic
    nw.testing.check_supernet(net)
