"""Networks whose inputs are more than batches."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

import netwright as nw


class Pair(NamedTuple):
    x: Tensor
    temperature: Tensor


class Tempered(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 32), nn.Linear(32, 4)

    def forward(self, x: Tensor, temperature: Tensor) -> Tensor:
        return self.second(self.first(x).relu()) * temperature


def test_numbers_and_named_tuples(tmp_path: Path) -> None:
    inputs = Pair(torch.randn(5, 8), torch.tensor(2.0))
    net = nw.wrap(Tempered(), inputs)
    assert list(net.report.elastic) == ["first.width"]
    assert nw.export(net.extract(net.smallest), tmp_path, ["safetensors"]).differences["safetensors"] == 0
