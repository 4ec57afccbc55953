"""A recipe's function that gives a plain module: its axes are found."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from netwright.core.errors import RecipeError
from netwright.nets.inputs import Inputs
from netwright.sources.load import load_model


def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 32), nn.Dropout(0.5), nn.ReLU(), nn.Linear(32, 4)).train()


def with_inputs() -> nn.Module:
    net = plain()
    net.example_inputs = torch.zeros(2, 6)  # type: ignore[assignment]
    return net


def whole() -> nn.Module:
    return nn.Flatten()


def never() -> Inputs:
    raise AssertionError("it has inputs of its own")


def test_it_is_wrapped_with_an_input_of_the_data() -> None:
    source = load_model(f"{__name__}:plain", lambda: torch.ones(1, 6))
    net = source.supernet()
    assert [choice.name for choice in net.space.choices] == ["0.width"] and net.largest["0.width"] == 32
    assert net.example_inputs.equal(torch.ones(1, 6)) and not source.pretrained
    assert "elastic are 0.width 8 to 32" in source.notes[-1]
    assert net.extract(net.smallest)(torch.ones(3, 6)).shape == (3, 4)


def test_its_own_inputs_go_first() -> None:
    assert load_model(f"{__name__}:with_inputs", never).supernet().example_inputs.shape == (2, 6)


def test_one_that_cannot_be_cut_or_run_is_told() -> None:
    with pytest.raises(RecipeError, match=r"nothing in .*whole can be cut"):
        load_model(f"{__name__}:whole", lambda: torch.ones(1, 6))
    with pytest.raises(RecipeError, match=r"plain: .*"):
        load_model(f"{__name__}:plain", lambda: torch.ones(1, 7))
