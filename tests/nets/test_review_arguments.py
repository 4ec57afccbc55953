"""Arguments of another kind are refused in words, never taken for something else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import netwright as nw
from netwright.core.errors import NetError

INPUTS = torch.zeros(2, 8)


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"only": "0*"}, r"only is a list, such as \['0\*'\]"),
        ({"except_": "0"}, "except_ is a list"),
        ({"axes": "width"}, "axes is a list"),
        ({"only": ["layer1.*"]}, "no module matches 'layer1.*'"),
        ({"except_": ["1x"]}, "no module matches '1x'"),
        ({"round_to": 0}, "round_to is a whole number from 1, not 0"),
        ({"round_to": "8"}, "not '8'"),
    ],
)
def test_arguments_of_wrap(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(NetError, match=told):
        nw.wrap(mlp(), INPUTS, **arguments)


def test_patterns_in_lists() -> None:
    net = nw.wrap(mlp(), INPUTS, only=["*"], except_=["2"])
    assert not net.report.elastic


def test_candidates() -> None:
    net = nw.wrap(mlp(), INPUTS)
    for use in (net.extract, net.cut, lambda c: net.active(c).__enter__()):
        with pytest.raises(NetError, match=r"is no candidate; net.space.candidate"):
            use({"0.width": 8})


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: nw.Width("w", (), ("a",)), "whole numbers; got"),  # type: ignore[arg-type]
        (lambda: nw.Attribute("s", (("0", "n"),), ()), "got none"),
        (lambda: nw.Heads.of(mlp(), "h", (1, 2), size=0, query="0", key="0", value="0", out="2"), "not 0"),
        (lambda: nw.Experts.of(mlp(), "e", (1, 2), router="1", experts="0"), "router 1 has no weight"),
        (lambda: nw.add_transforms(nn.Linear(2, 2), (3, 5)), "need a convolution"),
        (lambda: nw.add_transforms(nn.Conv2d(2, 2, 3), (3, 5)), "square window of 5"),
    ],
)
def test_arguments_of_axes(make: Callable[[], object], told: str) -> None:
    with pytest.raises(NetError, match=told):
        make()
