"""PyTorch as a runtime."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cases import NETWORKS, difference, network
from torch import nn

from netwright.core.errors import BundleError, MeasureError
from netwright.formats.pt2_archive import refuse_programs
from netwright.measure.agreement import TOLERANCE
from netwright.measure.convert import feeds_of
from netwright.measure.latency import Latency
from netwright.measure.runtimes.torch import Torch, _own_cache, gpu_state
from netwright.measure.sampling import SamplingPlan
from netwright.measure.targets import Target

QUICK = SamplingPlan(precision=0.5, max_seconds=0.05, repeats=0)
bfloat16 = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="PyTorch has no fast bfloat16 on this CPU"
)
cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


class Plain(nn.Module):
    """Two inputs by keyword, an output in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 4)

    def forward(self, x: torch.Tensor, shift: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"scores": self.second(torch.relu(self.first(x + shift)))}


@pytest.fixture
def plain() -> tuple[nn.Module, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    return Plain().eval(), {"x": torch.randn(2, 8), "shift": torch.randn(2, 8)}


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        *((name, "float32") for name in NETWORKS),
        pytest.param("inverted residual", "bfloat16", marks=bfloat16),
        pytest.param("bert", "bfloat16", marks=bfloat16),
    ],
)
def test_computes_what_the_network_computes(name: str, precision: str, tmp_path: Path) -> None:
    found = difference(Torch(precision=precision, batch=2), *network(name, 2), tmp_path / "n.pt2")
    assert found < TOLERANCE[precision]
    assert precision == "float32" or found > 1e-5, "it did not compute in bfloat16"


def test_linear_layers_are_quantised(tmp_path: Path) -> None:
    """In the form that this machine takes, whether it saturates or not."""
    pytest.importorskip("torchao", reason="torchao is not installed")
    module, inputs = network("bert")
    runtime, told = Target(Torch(precision="int8")).suited
    assert told["exact"][told["form"]]
    found = difference(runtime, module, inputs, tmp_path / "n.pt2")
    assert 1e-4 < found < TOLERANCE["int8"]
    assert not any("Int8" in type(p).__name__ for p in module.parameters()), "the network itself was quantised"
    refuse_programs(tmp_path / "n.pt2")  # torchao's tensors are pickled in it, and torch allows them


@pytest.mark.parametrize("saturates", [True, False])
def test_ranges_are_reduced_where_the_device_saturates(saturates: bool, tmp_path: Path) -> None:
    pytest.importorskip("torchao", reason="torchao is not installed")

    def trial(files: Any, feeds: Any, expected: Any) -> Any:
        (got,) = Torch(precision="int8").open(files[0], feeds).outputs()
        assert got.shape == expected[0].shape and np.abs(expected[0]).max() == 127 * 127 * 64
        return {"ms": [1.0], "errors": [[1e6 if saturates else 0.0]]}

    runtime, found = Torch(precision="int8").suited(trial)
    assert runtime.form == ("s7s7" if saturates else "s8s8") and ("saturates" in found["why"]) == saturates
    module, inputs = network("bert")
    assert runtime.convert(module, inputs, tmp_path / "own.pt2")["quantised"].startswith(runtime.form)
    assert runtime.warning(tmp_path / "own.pt2", found, trial) == ""
    Torch(precision="int8", form="s8s8").convert(module, inputs, tmp_path / "full.pt2")
    assert bool(runtime.warning(tmp_path / "full.pt2", found, trial)) == saturates


def test_nothing_to_quantise_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("torchao", reason="torchao is not installed")
    with pytest.raises(MeasureError, match="has none"):
        Torch(precision="int8").convert(nn.Conv2d(3, 4, 3).eval(), torch.randn(1, 3, 8, 8), tmp_path / "n.pt2")


def test_the_network_is_left_as_it_is(plain: Any, tmp_path: Path) -> None:
    module, inputs = plain
    Torch(precision="bfloat16").convert(module, inputs, tmp_path / "n.pt2")
    assert all(p.dtype is torch.float32 for p in module.parameters())


def test_the_file_says_what_it_is_called_with(plain: Any, tmp_path: Path) -> None:
    runtime, path = Torch(precision="bfloat16"), tmp_path / "n.pt2"
    runtime.convert(*plain, path)
    assert list(runtime.signature(path).values()) == [((2, 8), "float32")] * 2


def test_reads_an_archive_of_anyone(plain: Any, tmp_path: Path) -> None:
    module, inputs = plain
    program = torch.export.export(module, (inputs["x"],), {"shift": inputs["shift"]})
    torch.export.save(program, tmp_path / "own.pt2")
    feeds = dict(reversed(feeds_of(inputs).items()))  # by name, then
    assert Torch().signature(tmp_path / "own.pt2") == {"x": ((2, 8), "float32"), "shift": ((2, 8), "float32")}
    (got,) = Torch().open(tmp_path / "own.pt2", feeds).outputs()
    np.testing.assert_allclose(got, module(**inputs)["scores"].detach().numpy(), rtol=1e-5)


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "n.pt2").write_text("no archive")
    with pytest.raises(MeasureError, match="cannot read"):
        Torch().open(tmp_path / "n.pt2", {})
    with pytest.raises(MeasureError, match="cannot read"):
        Torch().signature(tmp_path / "n.pt2")


def test_what_cannot_be_exported_says_why(tmp_path: Path) -> None:
    class Odd(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(BundleError, match=r"torch\.export cannot take"):
        Torch().convert(Odd(), torch.randn(1, 3), tmp_path / "n.pt2")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"compile": "inducter"}, "did you mean 'inductor'"),
        ({"device": "gpu"}, "device cannot be 'gpu'"),
        ({"graphs": True}, "needs device=cuda"),
        ({"precision": "float16"}, "has no precision"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(MeasureError, match=words):
        Torch(**settings)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_an_absent_device_is_refused(plain: Any, tmp_path: Path) -> None:
    runtime, path = Torch(device="cuda"), tmp_path / "n.pt2"
    runtime.convert(*plain, path)  # may be done here for another machine
    with pytest.raises(MeasureError, match="device=cuda cannot be had here"):
        runtime.open(path, feeds_of(plain[1]))
    with pytest.raises(MeasureError, match="device=cuda cannot be had here"):
        Torch(device="cuda", compile="aot").convert(*plain, path)
    assert runtime.describe()["device"] == "cuda"


def test_bfloat16_is_refused_where_it_is_slow(plain: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Torch(precision="bfloat16").convert(*plain, tmp_path / "n.pt2")
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    with pytest.raises(MeasureError, match="no fast bfloat16"):
        Torch(precision="bfloat16").open(tmp_path / "n.pt2", feeds_of(plain[1]))


def test_measured_in_its_own_process(plain: Any, tmp_path: Path) -> None:
    path = tmp_path / "n.pt2"
    module, inputs = plain
    Torch().convert(module, inputs, path)
    expected = [module(**inputs)["scores"].detach().numpy()]
    found = Latency(Torch(), QUICK).run(path, feeds_of(inputs), expected)
    assert 0 < found["latency"].value < 10 and found["latency"].details["difference"] < 1e-5
    with pytest.raises(MeasureError, match="something else than PyTorch"):
        Latency(Torch(), QUICK).run(path, feeds_of(inputs), [expected[0] + 1])


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", pytest.param("bfloat16", marks=bfloat16)])
def test_compiled_beforehand(precision: str, plain: Any, tmp_path: Path) -> None:
    runtime, path = Torch(compile="aot", precision=precision), tmp_path / "n.pt2"
    module, inputs = plain
    assert runtime.convert(module, inputs, path)["compiler"] == "AOTInductor"
    assert list(runtime.signature(path).values()) == [((2, 8), "float32")] * 2
    (got,) = runtime.open(path, feeds_of(inputs)).outputs()
    wanted = module(**inputs)["scores"].detach().numpy()
    assert np.linalg.norm(got - wanted) < TOLERANCE[precision] * np.linalg.norm(wanted)
    with pytest.raises(MeasureError, match="compile=aot"):
        Torch().open(path, feeds_of(inputs))
    with pytest.raises(MeasureError, match="takes 2 inputs, but 1"):
        runtime.open(path, {"x": inputs["x"].numpy()})


@pytest.mark.slow
def test_compiled_where_it_is_opened(plain: Any, tmp_path: Path) -> None:
    runtime, path = Torch(compile="inductor"), tmp_path / "n.pt2"
    module, inputs = plain
    runtime.convert(module, inputs, path)
    (got,) = runtime.open(path, feeds_of(inputs)).outputs()
    wanted = module(**inputs)["scores"].detach().numpy()
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())
    with pytest.raises(MeasureError, match="not compiled by AOTInductor"):
        Torch(compile="aot").open(path, feeds_of(inputs))


def test_compiled_code_is_kept_apart_for_each_instruction_set(monkeypatch: pytest.MonkeyPatch) -> None:
    places = set()
    for known in ("AVX2", "AVX512"):
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")  # what is set here goes with the test
        monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda known=known: known)
        _own_cache()
        places.add(os.environ["TORCHINDUCTOR_CACHE_DIR"])
    assert len(places) == 2
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "mine")
    _own_cache()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "mine"


@cuda
@pytest.mark.parametrize("graphs", [False, True])
@pytest.mark.parametrize("compile", ["", "aot"])
def test_on_a_cuda_device(compile: str, graphs: bool, plain: Any, tmp_path: Path) -> None:
    runtime, path = Torch(device="cuda", graphs=graphs, compile=compile), tmp_path / "n.pt2"
    module, inputs = plain
    runtime.convert(module, inputs, path)
    session = runtime.open(path, feeds_of(inputs))
    np.testing.assert_allclose(session.outputs()[0], module(**inputs)["scores"].detach().numpy(), rtol=1e-4)
    assert 0 < (session.device_ms(10) or 0) < 10
    assert session.notes["graphs"] is graphs and "clocks.sm" in session.notes["gpu"]
    assert "gpu" in runtime.describe()


def test_clocks_are_read_where_there_is_a_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA X, 1.2, 1980, 2619, 1980, 41'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert gpu_state()["clocks.sm"] == "1980"
    tool.write_text("#!/bin/sh\nexit 9\n")
    assert gpu_state() == {}


def test_numbers_are_not_cut_in_silence(plain: Any, tmp_path: Path) -> None:
    runtime, (module, inputs) = Torch(batch=2), plain
    runtime.convert(module, inputs, tmp_path / "n.pt2")
    whole = {name: np.ones((2, 8), np.int8) for name in inputs}
    assert len(runtime.open(tmp_path / "n.pt2", whole).outputs()) == 1
    with pytest.raises(MeasureError, match="inputs of complex64 cannot stand for float32"):
        runtime.open(tmp_path / "n.pt2", {name: np.ones((2, 8), np.complex64) for name in inputs})


def test_agents_are_sent_no_machine_code() -> None:
    with pytest.raises(MeasureError, match=r"torch,compile=aot writes machine code, which agents do not open"):
        Target(Torch(compile="aot"), "http://127.0.0.1:7653")
