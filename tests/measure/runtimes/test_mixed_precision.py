"""Files of several precisions: each layer in its own, found by its weights."""

from __future__ import annotations

import zipfile
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

import netwright as nw
from netwright.core.errors import BundleError, MeasureError, NetwrightError
from netwright.formats.layers import precisions_in
from netwright.measure.convert import converted, shape_of
from netwright.measure.runtimes.onnxruntime import OnnxRuntime
from netwright.measure.runtimes.openvino import OpenVino
from netwright.measure.sampling import SamplingPlan
from netwright.measure.target_quality import TargetQuality
from netwright.measure.targets import parse_target
from netwright.nets.batch import batch_dims_of
from netwright.nets.rounding import precisions_of
from netwright.tasks import Classification

INPUTS = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))


class Residual(nn.Module):
    """Convolutions with normalisation, a sum, a pooling and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm0 = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.one, self.norm1 = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.two, self.norm2 = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.BatchNorm2d(8)
        self.up, self.head = nn.ConvTranspose2d(8, 6, 2, stride=2), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm0(self.stem(x)))
        y = torch.relu(self.norm1(self.one(x)))
        return self.head(self.up(torch.relu(x + self.norm2(self.two(y)))).mean((2, 3)))


def supernet() -> nw.SuperNet:
    torch.manual_seed(1)
    module = Residual().train()
    with torch.no_grad():
        for norm in (module.norm0, module.norm1, module.norm2):
            norm.weight.uniform_(-1.5, 1.5)  # of both signs
        module(torch.randn(32, 3, 16, 16))
    net = nw.SuperNet(module.eval(), [], INPUTS)
    return net.with_axes(nw.Bits.of(net, keep=()))


def written(network: nn.Module, path: Path, runtime: OnnxRuntime) -> onnx.ModelProto:
    converted(runtime, network.eval(), INPUTS, path, [INPUTS, INPUTS + 1])
    return onnx.load(path)


def quantised(model: onnx.ModelProto) -> list[str]:
    """The kinds of operators that take weights in 8 bits, with their groups."""
    of = {n.output[0]: n for n in model.graph.node if n.op_type == "DequantizeLinear"}
    return [n.op_type for n in model.graph.node if len(n.input) > 1 and n.input[1] in of and n.op_type != "Add"]


def contents(model: onnx.ModelProto) -> tuple[list[str], list[tuple[int, list[int], bytes]]]:
    """Operators and tensors; exporters number the names of tensors by all that a network holds."""
    tensors = [(t.data_type, list(t.dims), onnx.numpy_helper.to_array(t).tobytes()) for t in model.graph.initializer]
    return [node.op_type for node in model.graph.node], tensors


INT8 = OnnxRuntime(precision="int8", form="u8s8")


def test_all_in_8_bits_is_the_file_of_int8_and_none_that_of_float32(tmp_path):
    net = supernet()
    plain = nw.SuperNet(Residual(), [], INPUTS)
    for candidate, runtime in ((net.smallest, INT8), (net.largest, OnnxRuntime())):
        network = net.extract(candidate)
        state = {name: t for name, t in network.state_dict().items() if "input_rounding" not in name}
        plain.module.load_state_dict(state)
        ours = written(network, tmp_path / "ours.onnx", INT8)
        theirs = written(plain.extract(plain.largest), tmp_path / "theirs.onnx", runtime)
        assert contents(ours) == contents(theirs)


@pytest.mark.parametrize("layer", ["stem", "one", "two", "up", "head"])
def test_a_layer_alone_is_left_in_float32(tmp_path, layer):
    net = supernet()
    bits = {axis.name: "int8" for axis in net.axes if axis.name != f"{layer}.bits"}
    model = written(net.extract(net.largest_with(bits)), tmp_path / "n.onnx", INT8)
    whole = ["Conv", "Conv", "Conv", "ConvTranspose", "Gemm"]
    at = ["stem", "one", "two", "up", "head"].index(layer)
    assert quantised(model) == [*whole[:at], *whole[at + 1 :]]
    # One in 8 bits alone: the other way round.
    model = written(net.extract(net.largest_with({f"{layer}.bits": "int8"})), tmp_path / "o.onnx", INT8)
    assert quantised(model) == [whole[at]]


def test_what_runs_is_near_what_is_trained(tmp_path):
    net = supernet()
    inputs = torch.randn(64, 3, 16, 16)
    rng = np.random.default_rng(0)
    for candidate in (net.smallest, net.space.sample(rng), net.space.sample(rng)):
        network = nw.recalibrate(net.extract(candidate), [inputs])
        converted(INT8, network, INPUTS, tmp_path / "n.onnx", list(inputs.split(1)))
        session = INT8.session(tmp_path / "n.onnx")
        got = np.concatenate([session.run(None, {"input": one.numpy()})[0] for one in inputs.split(1)])
        with torch.no_grad():
            wanted = network(inputs).numpy()
        assert np.sqrt(np.mean((got - wanted) ** 2) / np.mean(wanted**2)) < 0.05


def test_layers_of_the_same_weights_take_one_precision_or_none():
    one = nn.Conv2d(3, 3, 3)
    nn.init.ones_(one.weight)  # which rounding leaves as they are
    module = nn.Sequential(one, deepcopy(one))
    net = nw.SuperNet(module, [], INPUTS)
    net = net.with_axes(nw.Bits.of(net, keep=()))
    weights = {f"of_{i}": one.weight.detach().numpy() for i in range(2)}
    assert precisions_in(net.extract(net.smallest), weights) == {"of_0": "int8", "of_1": "int8"}
    assert precisions_in(net.extract(net.largest), weights) == {"of_0": "float32", "of_1": "float32"}
    with pytest.raises(BundleError, match=r"0, 1 cannot be found.* \(2 operators.* int8, float32 .*the same precision"):
        precisions_in(net.extract(net.largest_with({"0.bits": "int8"})), weights)


def test_layers_are_found_in_a_file_by_their_weights():
    net = supernet()
    network = net.extract(net.largest_with({"stem.bits": "int8"}))
    weights = {path: network.get_submodule(path).weight.detach().numpy() for path in precisions_of(network)}
    weights["up"] = weights["up"].swapaxes(0, 1)
    found = precisions_in(network, {f"of_{path}": -2 * weight for path, weight in weights.items()})
    assert found == {f"of_{path}": "int8" if path == "stem" else "float32" for path in weights}
    network.two.weight.data[:] = network.two.weight.data[:1]
    network.one.weight.data[:] = 1
    with pytest.raises(BundleError, match=r"stem cannot be found in the file by their weights \(0 operators"):
        precisions_in(network, {"other": weights["two"]})


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_convolutions_of_groups_are_found_with_what_normalises_them(runtime, dims, tmp_path):
    if runtime == "openvino":
        pytest.importorskip("openvino")
        pytest.importorskip("nncf")
    torch.manual_seed(0)
    conv, up, norm = ((nn.Conv1d, nn.ConvTranspose1d, nn.BatchNorm1d), (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d))[
        dims - 1
    ]
    module = nn.Sequential(
        conv(4, 8, 3), norm(8), nn.ReLU(), up(8, 8, 3, 2, groups=2), norm(8), nn.ReLU(), conv(8, 8, 3, groups=4),
        norm(8), nn.ReLU(), up(8, 8, 2, groups=8), norm(8), nn.ReLU(), conv(8, 4, 1),
    ).eval()  # fmt: skip
    for each in module:
        if isinstance(each, norm):
            nn.init.uniform_(each.weight, 0.5, 2.0)
            each.running_var.uniform_(0.5, 2.0)
    inputs = torch.randn(8, 4, *[12] * dims)
    net = nw.SuperNet(module, [], inputs[:1])
    net = net.with_axes(nw.Bits.of(net, keep=()))
    network = nw.recalibrate(net.extract(net.largest_with({"0.bits": "int8", "3.bits": "int8"})), [inputs])
    latency = nw.Latency(f"{runtime},precision=int8")
    path = tmp_path / f"n{latency.runtime.suffix}"
    if runtime == "onnxruntime":
        with pytest.raises(BundleError, match=r"no 8-bit form of .*; keep their layers in float32"):
            latency.write(network, inputs[:1], path, [inputs])
        latency.write(module, inputs[:1], path, [inputs])  # where nobody asked for that layer, it is in float32
        return
    latency.write(network, inputs[:1], path, [inputs])
    (got,) = latency.outputs(path, [inputs[:1]])
    with torch.no_grad():
        wanted = network(inputs[:1]).numpy()
    assert np.linalg.norm(got.reshape(wanted.shape) - wanted) < 0.1 * np.linalg.norm(wanted)


@pytest.mark.parametrize(
    ("options", "runtime", "says"),
    [
        (("int8", "float32"), OnnxRuntime(), "in 'int8', which stem, one, two, up, head have; give the target prec"),
        (("int4", "float32"), INT8, "of 4 bits for linear layers alone, and stem, one, two, up are none; keep them in"),
        (("ternary", "float32"), INT8, "does not run single layers in 'ternary', which stem.*one of float32, int8"),
    ],
)
def test_a_precision_that_a_target_does_not_run_is_told_with_the_layers(tmp_path, options, runtime, says):
    net = nw.SuperNet(supernet().module, [], INPUTS)
    net = net.with_axes(nw.Bits.of(net, options, keep=()))
    with pytest.raises(MeasureError, match=says):
        written(net.extract(net.smallest), tmp_path / "n.onnx", runtime)


def rounded(path: Path) -> list[str]:
    """Of an OpenVINO file the kinds of operators whose weights are in 8 bits."""
    ov = pytest.importorskip("openvino")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(path.parent)
    model = ov.Core().read_model(path.parent / "model.xml")
    found = []
    for node in model.get_ordered_ops():
        if node.get_type_name() == "MatMul" or "Convolution" in node.get_type_name():
            given = node.input_value(1).get_node()
            while given.get_type_name() in ("Multiply", "Reshape", "Subtract", "Convert", "FakeQuantize"):
                given = given.input_value(0).get_node()
            if given.get_element_type().get_type_name() in ("i8", "u8") or "FakeQuantize" in feeders(node):
                found.append(node.get_type_name())
    return found


def feeders(node: Any) -> set[str]:
    given, kinds = node.input_value(1).get_node(), set()
    while given.get_type_name() in ("Multiply", "Reshape", "Subtract", "Convert", "FakeQuantize"):
        kinds.add(given.get_type_name())
        given = given.input_value(0).get_node()
    return kinds


@pytest.mark.parametrize("layer", ["", "stem", "one", "two", "up", "head"])
def test_openvino_leaves_layers_in_float32(tmp_path, layer):
    pytest.importorskip("nncf")
    net = supernet()
    whole = ["Convolution", "Convolution", "GroupConvolution", "ConvolutionBackpropData", "MatMul"]
    bits = {axis.name: "int8" for axis in net.axes if axis.name != f"{layer}.bits"}
    network = net.extract(net.largest_with(bits)).eval()
    converted(OpenVino(precision="int8", form="u8s8"), network, INPUTS, tmp_path / "n.ovir", [INPUTS, INPUTS + 1])
    at = ["stem", "one", "two", "up", "head"].index(layer) if layer else 5
    assert rounded(tmp_path / "n.ovir") == [*whole[:at], *whole[at + 1 :]]


def test_openvino_runs_what_has_no_layer_in_8_bits(tmp_path):
    pytest.importorskip("nncf")
    net, runtime = supernet(), OpenVino(precision="int8", form="u8s8")
    network, path = net.extract(net.largest).eval(), tmp_path / "n.ovir"
    how = converted(runtime, network, INPUTS, path, [INPUTS, INPUTS + 1])
    assert how["quantised"] == "nothing: every layer is in float32"
    session = runtime.open(path, {"input": INPUTS.numpy()})
    assert np.allclose(session.outputs()[0], network(INPUTS).detach().numpy(), atol=1e-4)


def test_openvino_cuts_nothing_off_that_calibration_inputs_have(tmp_path):
    """One input that is larger than the others is in the ranges, as it is in those of the network in PyTorch."""
    pytest.importorskip("nncf")
    torch.manual_seed(0)
    inputs = [torch.randn(1, 3, 16, 16) * (1 + 5 * (i == 3)) for i in range(8)]
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3)).eval()
    net = nw.SuperNet(model, [], inputs[0])
    net = net.with_axes(nw.Bits.of(net, keep=()))
    network = nw.recalibrate(net.extract(net.smallest), inputs)
    runtime, path = OpenVino(precision="int8", form="u8s7"), tmp_path / "n.ovir"
    converted(runtime, network, inputs[0], path, inputs)
    found = runtime.open(path, {"input": inputs[3].numpy()}).outputs()[0]
    wanted = network(inputs[3]).detach().numpy()
    assert np.square(found - wanted).mean() < 0.05**2 * np.square(wanted).mean()


def test_a_bundle_of_a_candidate_has_both_files(tmp_path):
    """``model.onnx`` has rounded weights and whole inputs, the target's own file rounds both."""
    net = supernet()
    network = nw.recalibrate(net.extract(net.smallest), [INPUTS, INPUTS + 1])
    assert batch_dims_of(network, INPUTS).inputs == (0,)
    bundle = nw.export(
        network, tmp_path / "out", further={"int8.onnx": lambda *given: converted(INT8, *given, [INPUTS, INPUTS + 1])}
    )
    assert max(bundle.differences.values()) < 1e-4
    assert quantised(onnx.load(bundle.files["int8.onnx"])) == ["Conv", "Conv", "Conv", "ConvTranspose", "Gemm"]
    again = nw.load(tmp_path / "out", net)
    with torch.no_grad():
        assert torch.equal(again(INPUTS), network(INPUTS))


def test_a_file_is_found_again_for_the_same_network_made_anew(tmp_path):
    """Hooks are told by their names, not by where they lie in memory; another precision is another file."""
    found = []
    for bits in ("int8", "int8", "float32"):
        net = supernet()
        network = nw.recalibrate(net.extract(net.largest_with({"one.bits": "int8", "two.bits": bits})), [INPUTS])
        found.append(shape_of(network))
    assert found[0] == found[1] != found[2]


@pytest.mark.slow
def test_the_target_s_own_quality_is_searched_with_its_latency(tmp_path):
    """Candidates that are whole but for their bits keep the statistics that the whole network does best with."""
    net = supernet()
    images = torch.randn(48, 3, 16, 16)
    with torch.no_grad():
        labels = net.module(images).argmax(1)
    latency = nw.Latency(INT8, SamplingPlan(precision=0.5, max_seconds=0.05, repeats=0))
    quality = TargetQuality(Classification(), nw.TensorLoader(nw.Split(images, labels), 48), latency)
    study = nw.Study(
        nw.SqliteStore(tmp_path / "study.db"), net, objectives=[quality, latency], record=[nw.Count("weight_bytes")],
        calibration=[images],
    )  # fmt: skip
    records = study.run(nw.Random(), 3)
    assert [record.status for record in records] == ["ok"] * 3
    largest = next(record for record in records if record.candidate == net.largest)
    assert largest.values["accuracy"] == 100
    assert all(record.values["accuracy"] > 80 for record in records)
    assert all(record.provenance["statistics"] == "inherited" for record in records)
    sizes = {record.candidate: record.values["weight_bytes"] for record in records}
    assert sizes[net.largest] == max(sizes.values()) > min(sizes.values())


@pytest.mark.parametrize("runtime", [INT8, OpenVino(precision="int8", form="u8s8")], ids=["onnxruntime", "openvino"])
@pytest.mark.parametrize(
    ("calibration", "says"),
    [
        ([torch.randn(1, 3, 8, 16)], r"shape \(1, 3, 8, 16\), and the file takes"),
        ([torch.ones(1, 3, 16, 16)] * 2, "all calibration inputs are alike, every number is 1"),
    ],
)
def test_calibration_inputs_that_tell_nothing_are_told(tmp_path, runtime, calibration, says):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 14 * 14, 2)).eval()
    if isinstance(runtime, OpenVino):
        pytest.importorskip("nncf")
    with pytest.raises(MeasureError, match=says):
        converted(runtime, network, INPUTS, tmp_path / f"n{runtime.suffix}", calibration)


def test_a_loader_that_is_used_up_is_told(tmp_path):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 14 * 14, 2)).eval()
    with pytest.raises(MeasureError, match="no inputs in the calibration batches"):
        nw.Latency(INT8).write(network, INPUTS, tmp_path / "n.onnx", iter([]))


def test_ranges_are_found_as_a_target_says(tmp_path):
    target = parse_target("onnxruntime,precision=int8,form=u8s8,ranges=(percentile,percent=90)")
    assert parse_target(str(target)).runtime == target.runtime
    net, scales = supernet(), []
    for runtime in (INT8, target.runtime):
        model = written(net.extract(net.smallest), tmp_path / "n.onnx", runtime)
        values = {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}
        scales.append(
            {n.input[1]: float(values[n.input[1]]) for n in model.graph.node if n.op_type == "QuantizeLinear"}
        )
    assert scales[0].keys() == scales[1].keys()
    assert all(scales[1][name] <= scales[0][name] for name in scales[0]) and scales[1] != scales[0]
    for wrong in ("onnxruntime,ranges=mse", "onnxruntime,precision=int8,ranges=least"):
        with pytest.raises(NetwrightError, match=r"need precision=int8|no range of activations 'least'"):
            parse_target(wrong)


def test_a_layer_without_a_form_in_8_bits_is_told(tmp_path):
    """In networks of products ONNX Runtime's ranges are those of each input, for which it quantises no convolution."""
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(784, 8), nn.ReLU(), nn.Linear(8, 2))
    net = nw.SuperNet(module.eval(), [], INPUTS)
    net = net.with_axes(nw.Bits.of(net, keep=()))
    with pytest.raises(BundleError, match=r"no 8-bit form of .*Conv in this network; keep their layers in float32"):
        written(net.extract(net.smallest), tmp_path / "n.onnx", INT8)
    written(net.extract(net.largest_with({"2.bits": "int8", "4.bits": "int8"})), tmp_path / "n.onnx", INT8)
