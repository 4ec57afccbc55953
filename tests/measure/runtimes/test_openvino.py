"""OpenVINO as a runtime."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cases import NETWORKS, difference, most, network
from torch import nn

from netwright.core.errors import MeasureError
from netwright.formats.onnx import write_onnx
from netwright.measure.agreement import TOLERANCE
from netwright.measure.convert import feeds_of, outputs_of
from netwright.measure.latency import Latency
from netwright.measure.runtimes.openvino import OpenVino
from netwright.measure.sampling import SamplingPlan

ov: Any = pytest.importorskip("openvino", reason="openvino is not installed")
QUICK = SamplingPlan(precision=0.5, max_seconds=0.05, repeats=0)
# Its plugin asks the CPU itself, its kernels (oneDNN) do as they are told: held down they have none of what it finds.
HELD_DOWN = bool({"ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"} & set(os.environ))
bfloat16 = pytest.mark.skipif(
    HELD_DOWN or "BF16" not in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"),
    reason="this CPU has no bfloat16, or oneDNN is held down",
)


OPENS = """
import sys
from pathlib import Path
import numpy as np
import netwright.measure.runtimes
sys.modules |= dict.fromkeys(("netwright.formats", "netwright.nets", "torch"))  # importing None raises
from netwright.measure.runtimes.openvino import OpenVino
session = OpenVino(precision="int8").open(Path(sys.argv[1]), {"input": np.zeros((1, 3, 8, 8), np.float32)})
print(session.outputs()[0].shape)
"""


def test_a_file_is_opened_with_no_more_than_a_packed_agent_has(tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    module, inputs = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval(), torch.randn(1, 3, 8, 8)
    OpenVino(precision="int8").convert(module, inputs, tmp_path / "n.ovir")
    done = subprocess.run([sys.executable, "-c", OPENS, tmp_path / "n.ovir"], capture_output=True, text=True)
    assert done.stdout.strip() == "(1, 4, 6, 6)", done.stderr


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("precision", ["float32", pytest.param("bfloat16", marks=bfloat16)])
def test_computes_what_the_network_computes(name: str, precision: str, tmp_path: Path) -> None:
    found = difference(OpenVino(precision=precision, batch=2), *network(name, 2), tmp_path / "n.ovir")
    assert found < most(name, precision)
    assert precision == "float32" or found > 1e-5, "it did not compute in bfloat16"


@pytest.mark.parametrize("name", ["inverted residual", "bert"])
def test_quantised(name: str, tmp_path: Path) -> None:
    pytest.importorskip("nncf", reason="nncf is not installed")
    runtime, path = OpenVino(precision="int8"), tmp_path / "n.ovir"
    module, inputs = network(name)
    assert 1e-5 < difference(runtime, module, inputs, path) < TOLERANCE["int8"]
    layers = runtime.open(path, feeds_of(inputs)).notes["layers"]
    assert layers.get("u8", 0) + layers.get("i8", 0) > 0


@pytest.mark.parametrize("saturates", [True, False])
def test_weights_are_reduced_where_the_device_saturates(saturates: bool, tmp_path: Path) -> None:
    pytest.importorskip("nncf", reason="nncf is not installed")

    def trial(files: Any, feeds: Any, expected: Any) -> Any:
        (got,) = OpenVino().open(files[0], feeds).outputs()
        assert got.shape == expected[0].shape and np.abs(expected[0]).max() == 255 * 127 * 64
        return {"ms": [1.0], "errors": [[1e6 if saturates else 0.0]]}

    runtime, found = OpenVino(precision="int8").suited(trial)
    assert runtime.form == ("u8s7" if saturates else "u8s8") and ("saturates" in found["why"]) == saturates
    module, inputs = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3)).eval(), torch.randn(1, 3, 8, 8)
    assert runtime.convert(module, inputs, tmp_path / "own.ovir")["quantised"].startswith(runtime.form)
    assert runtime.warning(tmp_path / "own.ovir", found, trial) == ""
    OpenVino(precision="int8", form="u8s8").convert(module, inputs, tmp_path / "full.ovir")
    assert bool(runtime.warning(tmp_path / "full.ovir", found, trial)) == saturates
    with zipfile.ZipFile(tmp_path / "own.ovir") as archive, zipfile.ZipFile(tmp_path / "full.ovir") as full:
        own, whole = (np.frombuffer(each.read("model.bin"), np.int8) for each in (archive, full))
    assert (len(own) == len(whole) and np.array_equal(own, whole)) != saturates


def test_nothing_to_quantise_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("nncf", reason="nncf is not installed")
    with pytest.raises(MeasureError, match="nothing"):
        OpenVino(precision="int8").convert(nn.ReLU(), torch.randn(1, 4), tmp_path / "n.ovir")


def test_a_file_that_is_not_quantised_is_not_measured_as_such(tmp_path: Path) -> None:
    module, inputs = nn.Linear(8, 4).eval(), torch.randn(1, 8)
    OpenVino().convert(module, inputs, tmp_path / "n.ovir")
    with pytest.raises(MeasureError, match="no layer of this network in int8"):
        OpenVino(precision="int8").open(tmp_path / "n.ovir", feeds_of(inputs))


def test_float32_is_never_left_to_the_plugin(tmp_path: Path) -> None:
    module, inputs = network("inverted residual")
    OpenVino().convert(module, inputs, tmp_path / "n.ovir")
    layers = OpenVino().open(tmp_path / "n.ovir", feeds_of(inputs)).notes["layers"]
    assert layers["f32"] > 0 and "bf16" not in layers


def test_bfloat16_is_refused_where_the_cpu_has_none() -> None:
    class Core:
        def get_property(self, device: str, name: str) -> list[str]:
            return ["FP32", "INT8"]

    with pytest.raises(MeasureError, match="does not compute bfloat16 on this CPU, it has FP32, INT8"):
        OpenVino(precision="bfloat16")._check(Core())


def test_opens_onnx_and_its_own_pair_of_files(tmp_path: Path) -> None:
    module, inputs = nn.Linear(8, 4).eval(), torch.randn(2, 8)
    write_onnx(module, inputs, tmp_path / "n.onnx")
    OpenVino().convert(module, inputs, tmp_path / "n.ovir")
    with zipfile.ZipFile(tmp_path / "n.ovir") as archive:
        archive.extractall(tmp_path)
    wanted = outputs_of(module, inputs)[0]
    for name, shape in (("n.onnx", (1, 8)), ("model.xml", (2, 8)), ("n.ovir", (2, 8))):
        assert OpenVino().signature(tmp_path / name) == {"input": (shape, "float32")}
        (got,) = OpenVino().open(tmp_path / name, {"x": inputs.numpy()}).outputs()
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-6)


def test_what_cannot_be_read_or_fed_says_so(tmp_path: Path) -> None:
    for name in ("n.ovir", "n.onnx"):
        (tmp_path / name).write_text("no network")
        with pytest.raises(MeasureError, match="cannot read"):
            OpenVino().open(tmp_path / name, {})
    OpenVino().convert(nn.Linear(8, 4).eval(), torch.randn(1, 8), tmp_path / "n.ovir")
    with pytest.raises(MeasureError, match="cannot take"):
        OpenVino().open(tmp_path / "n.ovir", {"x": np.zeros((1, 9), np.float32)})


def test_takes_by_torch_export_what_onnx_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from netwright.core.errors import BundleError
    from netwright.formats import onnx

    def refuse(*_: Any, **__: Any) -> None:
        raise BundleError("no ONNX today")

    monkeypatch.setattr(onnx, "write_onnx", refuse)
    module, inputs = network("inverted residual")
    assert OpenVino().convert(module, inputs, tmp_path / "n.ovir")["exporter"] == "torch.export"
    (got,) = OpenVino().open(tmp_path / "n.ovir", feeds_of(inputs)).outputs()
    np.testing.assert_allclose(got, outputs_of(module, inputs)[0], rtol=1e-3, atol=1e-5)


def test_measured_in_its_own_process(tmp_path: Path) -> None:
    module, inputs = network("inverted residual")
    OpenVino().convert(module, inputs, tmp_path / "n.ovir")
    found = Latency(OpenVino(), QUICK).run(tmp_path / "n.ovir", feeds_of(inputs), outputs_of(module, inputs))
    assert 0 < found["latency"].value < 10 and Counter(found["latency"].details["layers"])["f32"] > 0
