"""Values of another kind than a public function takes are told in its own words."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import nn

import netwright as nw


@cache
def net() -> nw.SuperNet:
    return nw.wrap(nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2)), torch.randn(2, 4))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: nw.train(net(), None, epochs=1), "a loader gives .* a NoneType is none"),  # type: ignore[arg-type]
        (lambda: nw.train(net(), iter(()), epochs=1), "is used up after the first"),  # type: ignore[arg-type]
        (lambda: net().count(3), "3 is no candidate"),  # type: ignore[arg-type]
        (lambda: net().extract({"a": 1}), "is no candidate"),  # type: ignore[arg-type]
        (lambda: nw.front("records"), "takes records"),  # type: ignore[arg-type]
        (lambda: nw.recalibrate(net(), []), "extract one first"),  # type: ignore[arg-type]
        (lambda: nw.wrap(nn.Linear(4, 16), torch.randn(2, 4), batch_dims=7), "no input has that dimension"),
        (lambda: nw.export(net(), "out"), "not a super-network"),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_kind_is_said(call: Callable[[], object], words: str) -> None:
    with pytest.raises(nw.NetwrightError, match=words):
        call()
