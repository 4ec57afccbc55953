"""ExecuTorch: what XNNPACK takes, what is refused, and that its file computes what PyTorch does."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from netwright.core.errors import MeasureError
from netwright.measure.convert import feeds_of, outputs_of
from netwright.measure.latency import Latency
from netwright.measure.runtimes.executorch import ExecuTorch
from netwright.measure.sampling import SamplingPlan
from netwright.nets.families.inverted_residual import inverted_residual

pytestmark = pytest.mark.skipif(find_spec("executorch") is None, reason="needs the package executorch")

QUICK = SamplingPlan(max_seconds=0.05, repeats=0)


class Mixed(nn.Module):
    """Convolutions, which XNNPACK takes, and sums, which it does not; inputs that are not alike."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, image: Tensor, shift: Tensor) -> dict[str, Tensor]:
        return {"sum": torch.cumsum(self.conv(image), 1) + shift, "shift": shift * 2.0}


class Sums(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cumsum(x, 1)


class Sorts(nn.Module):
    """ExecuTorch has no kernel for sorting."""

    def forward(self, x: Tensor) -> Tensor:
        return (x * 2).sort(1)[0]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, dict[str, Tensor], Path, dict]:
    torch.manual_seed(0)
    network, path = Mixed().eval(), tmp_path_factory.mktemp("executorch") / "mixed.pte"
    inputs = {"shift": torch.randn(1, 4, 6, 6), "image": torch.randn(1, 3, 8, 8)}
    return network, inputs, path, dict(ExecuTorch().convert(network, inputs, path))


@pytest.mark.parametrize(
    ("precision", "allowed"), [("float32", 1e-5), pytest.param("int8", 0.1, marks=pytest.mark.slow)]
)
def test_a_small_network_computes_what_pytorch_does(precision: str, allowed: float, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = inverted_residual(3, 10, 16, widths=((8,), (16,)), depths=((1,), (1,)), expands=(4,))
    network, image = net.extract(net.largest).eval(), torch.randn(1, 3, 16, 16)
    runtime, path = ExecuTorch(precision=precision), tmp_path / "net.pte"
    how = runtime.convert(network, image, path)
    assert how["operators"]["xnnpack"] > 5 and how["operators"]["portable"] == 0 and how["not_taken"] == {}
    assert how.get("quantised") == ("static" if precision == "int8" else None)
    latency = Latency(runtime, QUICK).run(path, feeds_of(image), outputs_of(network, image))["latency"]
    assert latency.value > 0
    assert latency.details["difference"] < allowed
    assert (latency.details["difference"] > 1e-5) == (precision == "int8")


def test_operators_that_xnnpack_does_not_take_are_named(mixed: tuple) -> None:
    *_, how = mixed
    assert how["not_taken"] == {"aten.cumsum.default": 1}
    assert how["operators"]["portable"] == 1


def test_named_inputs_and_outputs_keep_their_order(mixed: tuple) -> None:
    network, inputs, path, _ = mixed
    latency = Latency(ExecuTorch(), QUICK).run(path, feeds_of(inputs), outputs_of(network, inputs))["latency"]
    assert latency.details["difference"] < 1e-5


def test_a_file_tells_its_inputs(mixed: tuple) -> None:
    *_, path, _ = mixed
    told = ExecuTorch().signature(path)
    assert list(told.values()) == [((1, 4, 6, 6), "float32"), ((1, 3, 8, 8), "float32")]


def test_wrong_inputs_are_refused_in_words(mixed: tuple) -> None:
    _, inputs, path, _ = mixed
    with pytest.raises(MeasureError, match="takes 2 inputs, but 1"):
        Latency(ExecuTorch(), QUICK).run(path, feeds_of(inputs["image"]))
    other = {**inputs, "shift": torch.zeros(1, 4, 6, 6, dtype=torch.int64)}
    with pytest.raises(MeasureError, match=r"takes float32 .*not torch\.int64"):
        Latency(ExecuTorch(), QUICK).run(path, feeds_of(other))


def test_threads_are_those_asked_for(mixed: tuple) -> None:
    network, inputs, path, _ = mixed
    latency = Latency(ExecuTorch(threads=2), QUICK).run(path, feeds_of(inputs), outputs_of(network, inputs))["latency"]
    assert latency.details["clock"] == "wall"


def test_a_network_that_xnnpack_takes_nothing_of_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MeasureError, match=r"XNNPACK takes no operator of this network \(1 aten\.cumsum"):
        ExecuTorch().convert(Sums(), torch.randn(1, 8), tmp_path / "net.pte")
    assert not (tmp_path / "net.pte").exists()


def test_an_operator_without_a_kernel_is_named(tmp_path: Path) -> None:
    x = torch.randn(1, 8)
    ExecuTorch().convert(Sorts(), x, tmp_path / "net.pte")
    with pytest.raises(MeasureError, match="it has no aten::sort"):
        Latency(ExecuTorch(), QUICK).run(tmp_path / "net.pte", feeds_of(x))


def test_a_network_that_cannot_be_exported_is_refused_in_words(tmp_path: Path) -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * float(x.sum()) if x.sum() > 0 else x

    with pytest.raises(MeasureError, match=r"torch\.export cannot take this network"):
        ExecuTorch().convert(Odd(), torch.randn(1, 8), tmp_path / "net.pte")


def test_nothing_to_quantise_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MeasureError, match="nothing in this network can be quantised"):
        ExecuTorch(precision="int8").convert(Sums(), torch.randn(1, 8), tmp_path / "net.pte")
