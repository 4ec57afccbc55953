"""One contract for all runtimes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from netwright.core.errors import MeasureError, MissingExtra
from netwright.measure.runtimes import RUNTIMES, runtime_class
from netwright.nets.families.inverted_residual import inverted_residual
from netwright.testing import check_runtime


class TwoInputs(nn.Module):
    """Two inputs of one shape that must not be mistaken for one another, and two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        return self.layer(left) - 2 * right, torch.relu(right)


def runtime(name: str, **settings: object) -> object:
    kind = runtime_class(name)
    try:
        kind.require()
    except MissingExtra as error:
        pytest.skip(str(error))
    try:
        return kind(**settings)
    except MeasureError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", RUNTIMES.ours)
def test_every_runtime_keeps_the_contract(name: str) -> None:
    torch.manual_seed(0)
    net = inverted_residual(1, 3, 6, widths=((2, 4), (3, 6)), depths=((1, 2), (1,)), expands=(1, 2))
    if name == "litert":
        pytest.importorskip("litert_torch")
    found = check_runtime(runtime(name), net.extract(net.largest), torch.randn(1, 1, 6, 6))
    assert found["latency"]["clock"] == "cpu" and found["memory"]["value"] > 0


@pytest.mark.parametrize("name", [n for n in RUNTIMES.ours if n not in ("litert", "ncnn")])
def test_two_inputs_and_a_batch_of_three(name: str) -> None:
    torch.manual_seed(0)
    check_runtime(runtime(name, batch=3), TwoInputs(), (torch.randn(1, 8), torch.randn(1, 8)))


@pytest.mark.parametrize("name", RUNTIMES.names())
def test_settings_that_are_none_are_refused(name: str) -> None:
    kind = runtime_class(name)
    for settings, word in (({"threads": 0}, "threads"), ({"batch": 0}, "batch"), ({"precision": "float31"}, "float31")):
        with pytest.raises(MeasureError, match=word):
            kind(**settings)
