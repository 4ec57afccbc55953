"""Weights that do not fit are refused in one error that tells all; nothing is copied until all fit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from netwright.core.errors import CheckpointError
from netwright.nets.state import load_state


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))


def refused(tensors: Mapping[str, Tensor]) -> str:
    net = network()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"^w\.safetensors belongs to another network: ") as error:
        load_state(net, tensors, Path("w.safetensors"))
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    return str(error.value).partition(": ")[2]


def test_all_that_does_not_fit_is_told_at_once() -> None:
    state = network().state_dict()
    del state["0.bias"], state["1.weight"]
    state["2.weight"], state["2.bias"] = torch.zeros(2, 5, 1, 1), torch.zeros(3)
    state["head.weight"] = torch.zeros(7)
    assert refused(state) == (
        "it lacks 0.bias [4], 1.weight [4]; "
        "2.weight is [2, 5, 1, 1] and should be [2, 4, 1, 1], 2.bias is [3] and should be [2]; "
        "it holds head.weight [7], which the network does not have"
    )


def test_many_are_counted() -> None:
    told = refused({f"extra{i}": torch.zeros(1) for i in range(9)})
    assert told.startswith(
        "it lacks 0.weight [4, 3, 1, 1], 0.bias [4], 1.weight [4], 1.bias [4], 1.running_mean [4] and 3"
    )
    assert told.endswith("extra4 [1] and 4 more, which the network does not have")


def test_half_precision_becomes_the_networks_own() -> None:
    net, state = network(), network().half().state_dict()
    load_state(net, state, Path("w"))
    assert net[0].weight.dtype == torch.float32 and torch.equal(net[0].weight, state["0.weight"].float())


def test_integers_do_not_stand_for_numbers() -> None:
    state = {**network().state_dict(), "2.bias": torch.zeros(2, dtype=torch.int8)}
    assert refused(state) == "2.bias is [2] of int8 and should be [2] of float32"


def test_counts_of_batches_may_be_absent() -> None:
    load_state(network(), {k: v for k, v in network().state_dict().items() if "num_batches" not in k}, Path("w"))
