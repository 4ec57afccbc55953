"""Small files in float32 and in 8 bits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from netwright.measure.explain.onnx_graph import OnnxGraph
from netwright.measure.runtimes.onnxruntime import OnnxRuntime


class Pair(NamedTuple):
    """A network as files, and what it is fed with."""

    low: Path
    whole: Path
    inputs: Tensor


def network() -> nn.Module:
    """A convolution, a depthwise one, one of 1x1 and a linear layer, with a shortcut."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 3, padding=1)
            self.blocks = nn.Sequential(
                nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU(), nn.Conv2d(8, 8, 1))
            )
            self.head = nn.Linear(8, 5)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x).relu()
            x = (x + self.blocks(x)).relu()
            return self.head(x.mean((2, 3)))

    torch.manual_seed(0)
    return Net().eval()


PATHS = ["stem", "blocks.0.0", "blocks.0.2", "head"]


@pytest.fixture(scope="session")
def write(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Pair]:
    """Writes the network's two files."""

    def written(form: str = "u8s8", module: nn.Module | None = None, ranges: Sequence[Tensor] = ()) -> Pair:
        folder = tmp_path_factory.mktemp("files")
        torch.manual_seed(1)
        inputs = torch.randn(8, 3, 8, 8)
        net, low, whole = module or network(), folder / "int8.onnx", folder / "float32.onnx"
        OnnxRuntime().convert(net, inputs[:1], whole)
        runtime = OnnxRuntime(precision="int8", form=form)
        runtime.convert(net, inputs[:1], low, ranges or [inputs[i : i + 1] for i in range(8)])
        return Pair(low, whole, inputs)

    return written


@pytest.fixture(scope="session")
def pair(write: Callable[..., Pair]) -> Pair:
    """Ranges of real inputs."""
    return write()


@pytest.fixture
def graphs(pair: Pair, tmp_path: Path) -> tuple[OnnxGraph, OnnxGraph]:
    """The two files."""
    return OnnxGraph(pair.low, tmp_path), OnnxGraph(pair.whole, tmp_path)
