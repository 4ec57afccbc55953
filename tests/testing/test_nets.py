"""The shared contract leaves a network as it found it, and takes networks that learn nothing."""

from __future__ import annotations

import torch
from torch import nn

import netwright as nw


def test_modes_are_put_back() -> None:
    network = nn.Sequential(nn.Linear(8, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 4)).train()
    network[1].eval()
    nw.testing.check_supernet(nw.wrap(network, torch.randn(4, 8)), candidates=1)
    assert [module.training for module in network.modules()] == [True, True, False, True, True]


def test_networks_that_learn_nothing() -> None:
    nw.testing.check_supernet(nw.wrap(nn.Sequential(nn.ReLU(), nn.Flatten()), torch.randn(2, 3, 4)), candidates=1)
    frozen = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4)).requires_grad_(False)
    nw.testing.check_supernet(nw.wrap(frozen, torch.randn(2, 8)), candidates=1)
