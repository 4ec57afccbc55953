"""On a target of low precision, what is said of a network is that of the target's own file, run there on real data."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import netwright as nw
from netwright.core.errors import MeasureError
from netwright.measure.base import EvaluationContext
from netwright.measure.convert import converted
from netwright.measure.examples import CALIBRATION, in_batches, real_inputs
from netwright.measure.latency import Latency
from netwright.measure.runtimes.onnxruntime import OnnxRuntime
from netwright.measure.sampling import SamplingPlan
from netwright.measure.target_quality import FileOnTarget, TargetQuality, job_size
from netwright.measure.targets import Target
from netwright.nets.batch import BatchDims
from netwright.tasks import Classification

QUICK = SamplingPlan(precision=0.5, max_seconds=0.05, repeats=0)
INT8 = OnnxRuntime(precision="int8", form="u8u8")  # exact on every CPU


@pytest.fixture(scope="module")
def net() -> nw.SuperNet:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 5)
    )
    return nw.wrap(module.eval(), torch.randn(1, 1, 8, 8))


@pytest.fixture(scope="module")
def batches(net: nw.SuperNet) -> list[tuple[Tensor, Tensor]]:
    """Data whose labels are the network's own answers: uneven batches, far from noise of deviation 1."""
    torch.manual_seed(1)
    images = 3 * torch.randn(150, 1, 8, 8) + 1
    with torch.no_grad():
        labels = net.module(images).argmax(1)
    return [(images[i : i + 64], labels[i : i + 64]) for i in (0, 64, 128)]


def test_the_accuracy_is_that_of_the_file_to_the_example(net: nw.SuperNet, batches: Any) -> None:
    context = EvaluationContext(net, net.largest, batches)
    measurer = TargetQuality(Classification(), batches, Latency(INT8, QUICK))
    found = measurer.measure(context)["accuracy"]
    session = onnxruntime.InferenceSession(str(measurer.target.file(context)), providers=["CPUExecutionProvider"])
    (name,) = (each.name for each in session.get_inputs())
    right = sum(int((session.run(None, {name: x.numpy()})[0].argmax(1) == y.numpy()).sum()) for x, y in batches)
    assert found.n == 150 and found.value == 100 * right / 150 and found.value > 80
    assert measurer.depends_on_weights and measurer.provenance()["target"]["form"] == "u8u8"


def test_the_file_is_calibrated_and_compared_on_real_inputs(net: nw.SuperNet, batches: Any) -> None:
    latency = Latency(INT8, QUICK)
    found = latency.measure(EvaluationContext(net, net.largest, batches))["latency"]
    assert "ranges of 150 inputs" in found.details["conversion"]["quantised"]
    assert found.details["compared_on"] == "32 real inputs" and 1e-4 < found.details["difference"] < 0.1


def test_a_file_with_the_ranges_of_noise_is_refused(net: nw.SuperNet, batches: Any, tmp_path: Path) -> None:
    latency, module = Latency(INT8, QUICK), net.extract(net.largest).eval()
    latency.write(module, net.example_inputs, tmp_path / "n.onnx")
    with pytest.raises(MeasureError, match="allowed for int8 on real inputs are"):
        latency.of(tmp_path / "n.onnx", net.example_inputs, module, batches)
    latency.write(module, net.example_inputs, tmp_path / "n.onnx", batches)
    latency.of(tmp_path / "n.onnx", net.example_inputs, module, batches)


def test_in_float32_nothing_is_calibrated(net: nw.SuperNet) -> None:
    def never() -> Any:
        raise AssertionError("the data were asked for")
        yield

    latency, module = Latency(OnnxRuntime(), QUICK), net.extract(net.largest).eval()
    assert latency._real(module, net.example_inputs, never()) == ([], [])


def test_kept_files_are_of_the_same_real_inputs(net: nw.SuperNet, batches: Any, tmp_path: Path) -> None:
    module, dims = net.extract(net.largest).eval(), BatchDims((0,), (0,))
    module.batch_dims = dims  # as a study gives it
    one = real_inputs(module, batches[:1], dims, 1, CALIBRATION)
    other = real_inputs(module, batches[1:], dims, 1, CALIBRATION)

    def write(name: str, real: list[Any]) -> tuple[bytes, bool]:
        how = converted(INT8, module, one[0], tmp_path / name, real)
        return (tmp_path / name).read_bytes(), "cached" in how

    first, again, another = write("a.onnx", one), write("b.onnx", one), write("c.onnx", other)
    assert first[0] == again[0] != another[0] and (first[1], again[1], another[1]) == (False, True, False)


class TimeFirst(nn.Module):
    """Sequences (time, batch, features), and a number for each example."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 6)

    def forward(self, x: Tensor, weight: Tensor) -> dict[str, Tensor]:
        hidden = torch.relu(self.layer(x)) * weight[None, :, None]
        return {"steps": hidden, "logits": hidden.sum(0)}


def test_inputs_of_any_number_run_at_the_targets_batch_size(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, inputs = TimeFirst().eval(), (torch.randn(3, 5, 4), torch.randn(5))
    dims = BatchDims((1, 0), (1, 0))
    parts = list(in_batches(inputs, dims, 2))
    assert [tuple(t.shape for t in part) for part in parts] == [((3, 2, 4), (2,))] * 3
    assert torch.equal(parts[2][0][:, 1], inputs[0][:, 4]), "filled up with its own"
    network.batch_dims = dims

    class Here:
        """Runs PyTorch in the place of a target."""

        runtime = OnnxRuntime(batch=2)

        def outputs(self, path: Path, several: Any, *, trust: bool) -> list[np.ndarray]:
            with torch.no_grad():
                found = [network(*one) for one in several]
            return [np.stack([each[name].numpy() for each in found]) for name in ("steps", "logits")]

    file = FileOnTarget(Here(), tmp_path, network, inputs)  # type: ignore[arg-type]
    with torch.no_grad():
        got, want = file(*inputs), network(*inputs)
    for name in want:
        torch.testing.assert_close(got[name], want[name])


def test_what_one_job_has_no_time_for_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "n.onnx").write_bytes(b"")
    jobs = []

    def ask(self: Target, job: Any) -> dict[str, str]:
        with np.load(job["feeds"]) as held:
            values = held["input"][:2]  # of what is there
        jobs.append(len(values))
        content = io.BytesIO()
        np.savez(content, output0=2 * values)
        return {"outputs": base64.b64encode(content.getvalue()).decode()}

    monkeypatch.setattr(Target, "ask", ask)
    inputs = [torch.full((1, 3), float(i)) for i in range(5)]
    (found,) = Latency(OnnxRuntime()).outputs(tmp_path / "n.onnx", inputs)
    assert jobs == [2, 2, 1] and found.shape == (5, 1, 3) and found[:, 0, 0].tolist() == [0, 2, 4, 6, 8]


def test_data_drawn_at_random_are_the_same_each_time() -> None:
    class Shuffled:
        def __iter__(self) -> Any:
            yield torch.randn(4, 2), torch.zeros(4)

    dims, module = BatchDims((0,), (0,)), nn.Linear(2, 2)
    one, two = (real_inputs(module, Shuffled(), dims, 1, 3) for _ in range(2))
    assert len(one) == 3 and all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_a_job_holds_a_bounded_amount_of_data() -> None:
    assert job_size(torch.zeros(5, 3, 32, 32)) == 64 * 2**20 // (4 * 3 * 32 * 32)
    assert job_size(torch.zeros(2, 5000, 5000)) == 1
    assert job_size((torch.zeros(5, 4), torch.tensor(0.5))) == 64 * 2**20 // 16, "a number is no example's"
