"""Measurers on small networks: accuracy, counts, latency on ONNX Runtime, the machine."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from torch import Tensor, nn

import netwright as nw
from netwright.core.errors import MeasureError
from netwright.measure.base import EvaluationContext
from netwright.measure.convert import example, feeds_of, outputs_of
from netwright.measure.counts import METRICS
from netwright.measure.machine import machine
from netwright.measure.sampling import SamplingPlan
from netwright.nets.families.inverted_residual import inverted_residual
from netwright.tasks.statistics import proportion

QUICK = SamplingPlan(precision=0.5, max_seconds=0.05, repeats=0)


@pytest.fixture(scope="module")
def net() -> nw.SuperNet:
    torch.manual_seed(0)
    return inverted_residual(1, 3, 6, widths=((2, 4), (3, 6)), depths=((1, 2), (1,)), expands=(1, 2))


class Fixed(nn.Module):
    """The scores are the inputs."""

    def forward(self, x: Tensor) -> Tensor:
        return x


# -- accuracy ----------------------------------------------------------------------------------------------------


def test_accuracy_is_counted_over_uneven_batches() -> None:
    rows = torch.eye(4)[[0, 1, 2, 3, 0, 1, 2]]
    labels = torch.tensor([0, 1, 2, 0, 0, 0, 2])
    loader = [(rows[:4], labels[:4]), (rows[4:6], labels[4:6]), (rows[6:], labels[6:])]
    network = Fixed().train()
    found = nw.Accuracy(loader).of(network)
    assert (found.value, found.unit, found.n) == (pytest.approx(100 * 5 / 7), "%", 7)
    assert not network.training


def test_accuracy_does_not_depend_on_the_mode_or_leave_gradients() -> None:
    network = nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.9), nn.Linear(8, 3)).train()
    data = [(torch.randn(50, 5), torch.randint(3, (50,)))]
    by_hand = float((network.eval()(data[0][0]).argmax(1) == data[0][1]).float().mean())
    assert nw.Accuracy(data).of(network.train()).value == pytest.approx(100 * by_hand)
    assert all(q.grad is None for q in network.parameters())


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_outputs_that_are_not_finite_are_refused(bad: float) -> None:
    rows = torch.eye(3)
    rows[1, 2] = bad
    with pytest.raises(MeasureError, match="not finite"):
        nw.Accuracy([(torch.eye(3), torch.arange(3)), (rows, torch.arange(3))]).of(Fixed())


def test_labels_of_another_shape_are_no_accuracy() -> None:
    """(n,) == (n, 1) compares everyone with everyone."""
    with pytest.raises(MeasureError):
        nw.Accuracy([(torch.eye(3), torch.arange(3)[:, None])]).of(Fixed())


def test_an_empty_loader_is_told() -> None:
    with pytest.raises(MeasureError, match="none"):
        nw.Accuracy([]).of(Fixed())


@pytest.mark.parametrize("right, total", [(0, 10), (10, 10), (7, 10), (350, 360), (1, 1)])
def test_the_spread_is_half_of_wilsons_interval(right: int, total: int) -> None:
    found = proportion(right, total)
    interval = binomtest(right, total).proportion_ci(0.95, method="wilson")
    assert found.value == pytest.approx(100 * right / total)
    assert found.ci95 == pytest.approx(50 * (interval.high - interval.low), rel=1e-3)
    assert found.n == total


def test_accuracy_uses_the_recalibrated_network(net: nw.SuperNet) -> None:
    torch.manual_seed(0)
    batches = [torch.randn(32, 1, 6, 6) * 3 + 1 for _ in range(2)]
    data = [(torch.randn(40, 1, 6, 6), torch.randint(3, (40,)))]
    measured = nw.Accuracy(data).measure(EvaluationContext(net, net.smallest, calibration=batches))["accuracy"]
    by_hand = nw.recalibrate(net.extract(net.smallest), batches)
    assert measured == nw.Accuracy(data).of(by_hand)
    with pytest.warns(UserWarning, match="calibration"):
        EvaluationContext(net, net.smallest).module  # noqa: B018


# -- counts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METRICS)
def test_counts_are_those_of_the_super_network(net: nw.SuperNet, name: str) -> None:
    for candidate in (net.smallest, net.largest):
        found = nw.Count(name).measure(EvaluationContext(net, candidate))
        assert found[name].value == getattr(net.count(candidate), name) > 0
        assert (found[name].ci95, found[name].n, found[name].unit) == (0, 1, METRICS[name].unit)
    assert nw.Count(name).metrics[0].exact


def test_an_unknown_count_names_the_nearest() -> None:
    with pytest.raises(nw.NetwrightError, match="did you mean 'params'"):
        nw.Count("parms")


# -- latency -----------------------------------------------------------------------------------------------------


def test_latency_and_file_size_on_onnx_runtime(net: nw.SuperNet) -> None:
    latency = nw.Latency(nw.targets.OnnxRuntime(threads=1), QUICK)
    context = EvaluationContext(net, net.smallest, calibration=[torch.randn(8, 1, 6, 6)])
    found = latency.measure(context)
    assert found.keys() == {m.name for m in latency.metrics} == {"latency", "file_bytes", "throughput", "memory"}
    assert 0.001 < found["latency"].value < 5 and found["latency"].unit == "ms"
    file = context.file("onnxruntime", ".onnx", lambda path: pytest.fail("written once"))
    assert found["file_bytes"].value == file.stat().st_size
    assert found["throughput"].value == pytest.approx(1e3 / found["latency"].value)
    assert 1e5 < found["memory"].value < 1e9 and found["memory"].unit == "B"
    assert latency.measure(context) == found, "measured once"
    folder = file.parent
    del context
    gc.collect()
    assert not folder.exists(), "removed with its context"
    assert json.loads(json.dumps(found["latency"].to_json()))["wall"]["median"] > 0


def test_the_target_is_told_and_tells_settings_apart() -> None:
    one, two = (nw.Latency(nw.targets.OnnxRuntime(threads=t), QUICK) for t in (1, 2))
    target = one.provenance()["target"]
    assert {"runtime", "versions", "device", "threads", "batch", "precision", "cpu", "cores", "fingerprint"} <= set(
        target
    )
    assert target["fingerprint"] != two.target["fingerprint"]
    assert target["fingerprint"] == nw.Latency(nw.targets.OnnxRuntime(threads=1), QUICK).target["fingerprint"]
    assert all(v is not None for v in json.loads(json.dumps(target)).values())


def test_the_machine_has_no_unknowns() -> None:
    found = machine()
    assert all(v not in (None, "") for v in found.values())
    assert found["cores"] >= 1 and len(found["fingerprint"]) == 16


@pytest.mark.parametrize("batch", [1, 3])
def test_the_runtime_runs_the_network_on_its_batch(net: nw.SuperNet, batch: int, tmp_path: Path) -> None:
    runtime = nw.targets.OnnxRuntime(threads=1, batch=batch)
    network = net.extract(net.largest).eval()
    inputs = example(net.example_inputs, batch)
    runtime.convert(network, inputs, tmp_path / "x.onnx")
    session = runtime.open(tmp_path / "x.onnx", feeds_of(inputs))
    (out,) = session.outputs()
    (expected,) = outputs_of(network, inputs)
    assert out.shape == expected.shape == (batch, 3)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)


def test_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"no network")
    with pytest.raises(MeasureError, match=r"x\.onnx"):
        nw.targets.OnnxRuntime().open(tmp_path / "x.onnx", {})


class Pair(nn.Module):
    """Two inputs of one shape that must not be mistaken for one another."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x - 2 * y


class PairNet:
    """A person's own super-network."""

    space = nw.Space([nw.Choice("a", (1,))])
    example_inputs: ClassVar = {"y": torch.ones(1, 4), "x": torch.zeros(1, 4)}

    def extract(self, candidate: nw.Candidate) -> nn.Module:
        return Pair()


def test_keyword_inputs_in_another_order_are_not_mistaken_for_one_another(tmp_path: Path) -> None:
    context = EvaluationContext(PairNet(), PairNet.space.smallest)
    runtime = nw.targets.OnnxRuntime()
    runtime.convert(context.module, context.example_inputs, tmp_path / "x.onnx")
    session = runtime.session(tmp_path / "x.onnx")
    x, y = np.float32([[1, 2, 3, 4]]), np.float32([[10, 20, 30, 40]])
    (out,) = session.run(None, {"x": x, "y": y})
    np.testing.assert_allclose(out, x - 2 * y)
    assert nw.Latency(runtime, QUICK).measure(context)["latency"].value > 0
