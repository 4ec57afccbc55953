"""LiteRT: files that hold what they should, what XNNPACK did not take, and where the converter is sought.

Converting needs a Python with litert-torch, in NETWRIGHT_LITERT_PYTHON; those tests take a quarter of a minute each.
"""

from __future__ import annotations

import os
import stat
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from netwright.core.errors import MeasureError
from netwright.measure.convert import feeds_of, outputs_of
from netwright.measure.latency import Latency
from netwright.measure.runtimes import litert
from netwright.measure.runtimes.litert import PYTHON, LiteRt
from netwright.measure.sampling import SamplingPlan
from netwright.nets.families.inverted_residual import inverted_residual

pytestmark = pytest.mark.skipif(find_spec("ai_edge_litert") is None, reason="needs the package ai-edge-litert")
CAN_CONVERT = PYTHON in os.environ or find_spec("litert_torch") is not None


def converts(test: Any) -> Any:
    """Marks a test that converts a network."""
    return pytest.mark.slow(pytest.mark.skipif(not CAN_CONVERT, reason=f"needs litert-torch, or {PYTHON}")(test))


QUICK = SamplingPlan(max_seconds=0.05, repeats=0)


class Mixed(nn.Module):
    """Convolutions, which XNNPACK takes, and whole numbers, which it does not; inputs that are not alike."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.table = nn.Conv2d(3, 4, 3), nn.Embedding(10, 6)

    def forward(self, image: Tensor, shift: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        return self.conv(image) + torch.cumsum(shift, 1), self.table(which)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, dict[str, Tensor], Path]:
    torch.manual_seed(0)
    network, path = Mixed().eval(), tmp_path_factory.mktemp("litert") / "mixed.tflite"
    inputs = {"which": torch.tensor([[1, 9]]), "shift": torch.randn(1, 4, 6, 6), "image": torch.randn(1, 3, 8, 8)}
    LiteRt().convert(network, inputs, path)
    return network, inputs, path


@converts
@pytest.mark.parametrize(("precision", "allowed"), [("float32", 1e-5), ("int8", 0.1)])
def test_a_small_network_computes_what_pytorch_does(precision: str, allowed: float, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = inverted_residual(3, 10, 16, widths=((8,), (16,)), depths=((1,), (1,)), expands=(4,))
    network, image = net.extract(net.largest).eval(), torch.randn(1, 3, 16, 16)
    runtime, path = LiteRt(precision=precision), tmp_path / "net.tflite"
    how = runtime.convert(network, image, path)
    assert how.get("quantised") == ("static" if precision == "int8" else None)
    latency = Latency(runtime, QUICK).run(path, feeds_of(image), outputs_of(network, image))["latency"]
    assert latency.value > 0
    assert latency.details["difference"] < allowed
    assert (latency.details["difference"] > 1e-5) == (precision == "int8")
    assert latency.details["operators"]["xnnpack"] > 5 and latency.details["operators"]["builtin"] == 0


@converts
def test_operators_that_xnnpack_does_not_take_are_named_and_inputs_keep_their_order(mixed: tuple) -> None:
    network, inputs, path = mixed
    how = Latency(LiteRt(), QUICK).run(path, feeds_of(inputs), outputs_of(network, inputs))["latency"].details
    assert how["difference"] < 1e-5
    assert how["operators"]["xnnpack"] >= 1
    assert how["operators"]["builtin"] == sum(how["not_taken"].values()) >= 1
    assert set(how["not_taken"]) & {"CUMSUM", "GATHER", "GATHER_ND"}


@converts
def test_a_file_tells_its_inputs(mixed: tuple) -> None:
    *_, path = mixed
    told = LiteRt().signature(path)
    assert [shape for shape, _ in told.values()] == [(1, 2), (1, 4, 6, 6), (1, 3, 8, 8)]
    assert [kind for _, kind in told.values()] == ["int32", "float32", "float32"]  # the converter narrows whole numbers


@converts
def test_int8_of_a_file_without_any_is_refused(mixed: tuple) -> None:
    _, inputs, path = mixed
    with pytest.raises(MeasureError, match="has 8 bits; measure with precision=float32"):
        Latency(LiteRt(precision="int8"), QUICK).run(path, feeds_of(inputs))


@converts
def test_wrong_inputs_are_refused_in_words(mixed: tuple) -> None:
    _, inputs, path = mixed
    with pytest.raises(MeasureError, match=r"takes 3 inputs .*, but 1 were given"):
        Latency(LiteRt(), QUICK).run(path, feeds_of(inputs["image"]))


def test_what_is_no_file_of_its_own_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(b"not a network" * 10)
    with pytest.raises(MeasureError, match="litert cannot load"):
        Latency(LiteRt(), QUICK).run(path, {"x": np.zeros((1, 3), np.float32)})


def test_without_a_converter_it_says_what_to_type(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(PYTHON, raising=False)
    monkeypatch.setattr(litert, "find_spec", lambda name: None)
    with pytest.raises(MeasureError) as caught:
        LiteRt().convert(nn.ReLU(), torch.randn(1, 3), tmp_path / "net.tflite")
    said = str(caught.value)
    assert "python -m venv" in said and "litert-torch==0.10.0" in said and f"export {PYTHON}=" in said
    assert f"torch=={torch.__version__.partition('+')[0]}" in said


def test_a_python_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(PYTHON, "/nowhere/python")
    with pytest.raises(MeasureError, match="'/nowhere/python', which is no program"):
        LiteRt().convert(nn.ReLU(), torch.randn(1, 3), tmp_path / "net.tflite")


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (
            "import sys; sys.stderr.write('first\\nno such thing\\n'); sys.exit(3)",
            "exit code 3; it said: no such thing",
        ),
        ('print(\'{"failed": "it has torch 1.0, and the network comes from torch 2"}\')', "it has torch 1.0"),
        ("import time; time.sleep(60)", "no answer within 1 s"),
    ],
)
def test_a_converter_that_fails_says_why(
    script: str, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(litert, "CONVERT_S", 1.0)
    python = _program(tmp_path / "python", f"#!{sys.executable}\n{script}\n")
    monkeypatch.setenv(PYTHON, str(python))
    with pytest.raises(MeasureError, match=said):
        LiteRt().convert(nn.ReLU(), torch.randn(1, 3), tmp_path / "net.tflite")


def test_another_torch_is_refused() -> None:
    from netwright.measure.runtimes.litert_convert import _minor

    assert _minor("2.13.0+cpu") == _minor("2.13.1") != _minor("2.12.0")


def _program(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path
