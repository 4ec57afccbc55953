"""Bits beside every other kind of axis, and on networks of linear layers."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

import netwright as nw
from netwright.core.errors import BundleError
from netwright.measure.convert import converted
from netwright.measure.runtimes.onnxruntime import OnnxRuntime
from netwright.nets.rounding import precisions_of

INT8 = OnnxRuntime(precision="int8", form="u8s8")


class Encoder(nn.Module):
    """Attention and a feed-forward part, written as BERT's are."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out, self.norm1 = nn.Linear(width, width), nn.LayerNorm(width)
        self.up, self.down, self.norm2 = nn.Linear(width, 32), nn.Linear(32, width), nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        scores = self.query(x) @ self.key(x).transpose(1, 2)
        x = self.norm1(x + self.out(scores.softmax(-1) @ self.value(x)))
        return self.norm2(x + self.down(nn.functional.gelu(self.up(x))))


class Bert(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.layers = nn.Embedding(20, 16), nn.Sequential(Encoder(), Encoder())
        self.head = nn.Linear(16, 3)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.layers(self.table(ids)).mean(1))


def bert() -> nw.SuperNet:
    torch.manual_seed(0)
    net = nw.wrap(Bert().eval(), torch.randint(0, 20, (2, 7)), axes=["width", "depth"])
    return net.with_axes([*net.axes, *nw.Bits.of(net)])


def test_linear_layers_take_the_range_of_each_input():
    net, ids = bert(), torch.randint(0, 20, (5, 7))
    rng, names = np.random.default_rng(0), [choice.name for choice in net.space]
    assert "layers.0.key.bits" in names and "layers.0.query.bits" not in names and "head.bits" not in names
    for candidate in (net.smallest, net.space.sample(rng)):
        network = net.extract(candidate).eval()
        with torch.no_grad(), net.active(candidate) as module:
            together = module(ids)
            assert torch.equal(together, network(ids))
            assert torch.allclose(together, torch.cat([module(one) for one in ids.split(1)]), atol=1e-5)


@pytest.mark.parametrize("layer", ["layers.0.key", "layers.1.down"])
def test_a_linear_layer_is_left_in_float32(tmp_path, layer):
    net = bert()
    network = net.extract(net.largest_with({a.name: "int8" for a in net.axes if a.name.endswith("bits")})).eval()
    other = net.extract(
        net.largest_with({a.name: "int8" for a in net.axes if a.name.endswith("bits") and layer not in a.name})
    ).eval()
    counts = []
    for each in (network, other):
        converted(INT8, each, net.example_inputs, tmp_path / "n.onnx")
        model = onnx.load(tmp_path / "n.onnx")
        counts.append(sum(node.op_type == "MatMulInteger" for node in model.graph.node))
        assert sum(text == "int8" for text in precisions_of(each).values()) == counts[-1]
        session = INT8.session(tmp_path / "n.onnx")
        (got,) = session.run(None, {"input": net.example_inputs.numpy()})
        with torch.no_grad():
            wanted = each(net.example_inputs).numpy()
        assert np.abs(got - wanted).max() < 0.05 * np.abs(wanted).max()
    assert counts == [11, 10]


def test_weights_of_4_bits_are_those_of_the_file(tmp_path):
    """Linear layers with and without a bias, a matrix or a batch of matrices; the outputs are those of PyTorch."""
    net = nw.SuperNet(Bert().eval(), [], torch.randint(0, 20, (2, 7)))
    net = net.with_axes(nw.Bits.of(net, ["int4", "int8", "float32"], keep=()))
    layers = [axis.name.removesuffix(".bits") for axis in net.axes]
    for number, few in enumerate((layers, ["head"], layers[:3])):
        network = net.extract(net.largest_with({f"{layer}.bits": "int4" for layer in few})).eval()
        path = tmp_path / f"{number}.onnx"
        how = converted(INT8, network, net.example_inputs, path)
        assert how["quantised"] == f"{len(few)} products with weights of 4 bits, the rest in float32"
        (got,) = INT8.session(path).run(None, {"input": net.example_inputs.numpy()})
        with torch.no_grad():
            assert np.allclose(got, network(net.example_inputs).numpy(), atol=1e-4)
        assert sum(node.op_type == "MatMulNBits" for node in onnx.load(path).graph.node) == len(few)
    both = {f"{layer}.bits": "int4" if layer == "head" else "int8" for layer in layers}
    converted(INT8, net.extract(net.largest_with(both)).eval(), net.example_inputs, tmp_path / "b.onnx")
    kinds = [node.op_type for node in onnx.load(tmp_path / "b.onnx").graph.node]
    assert (kinds.count("MatMulInteger"), kinds.count("MatMulNBits")) == (len(layers) - 1, 1)


def test_a_convolution_has_no_form_in_4_bits(tmp_path):
    net = nw.SuperNet(Menus().eval(), [], torch.randn(1, 3, 8, 8))
    net = net.with_axes(nw.Bits.of(net, ["int4", "float32"]))
    network = net.extract(net.smallest).eval()
    with pytest.raises(BundleError, match=r"no 4-bit form of .*, a Conv: only linear layers have one"):
        INT8.convert(network, net.example_inputs, tmp_path / "n.onnx", [torch.randn(1, 3, 8, 8)])


class Menus(nn.Module):
    """A menu, a kernel, a matrix of two factors, between convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.menu = nw.oneof(small=nn.Conv2d(8, 8, 1), large=nn.Conv2d(8, 8, 3, padding=1))
        self.window = nn.Conv2d(8, 8, 5, padding=2, groups=8)
        self.hidden, self.head = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.hidden(self.window(torch.relu(self.menu(self.stem(x)))).mean((2, 3)))))


@pytest.mark.parametrize("transformed", [False, True])
def test_active_is_extracted_with_menus_kernels_ranks_and_widths(transformed):
    torch.manual_seed(0)
    module = Menus().eval()
    nw.factorise(module, "hidden")
    if transformed:
        nw.add_transforms(module.window, (3, 5))
    inputs = torch.randn(2, 3, 8, 8)
    axes = [
        nw.OneOf.of(module, "menu"),
        nw.Kernel("kernel", "window", (3, 5), transformed=transformed),
        nw.Rank.of(module, "rank", "hidden", (2, 8)),
    ]
    net = nw.SuperNet(module, axes, inputs)
    net = net.with_axes([*net.axes, *nw.Bits.of(net, ["uniform,weights=2", "int8", "float32"])])
    assert {"menu.small.bits", "window.bits", "hidden.0.bits", "hidden.1.bits"} >= {
        choice.name for choice in net.space if choice.name.endswith("bits")
    } - {"menu.large.bits"}
    rng = np.random.default_rng(0)
    candidates = [net.smallest, *(net.space.sample(rng) for _ in range(12))]
    for candidate, counts in zip(candidates, net.counts(candidates), strict=True):
        network = net.extract(candidate).eval()
        with torch.no_grad(), net.active(candidate) as active:
            assert torch.equal(active(inputs), network(inputs))
        assert net._counter._trace(candidate) == counts
        chosen = dict(candidate)
        assert ("menu.small.bits" in chosen) == (chosen["menu.option"] == "small")


def test_rules_sample_bits_and_train_all_of_them():
    """Quantised for all: after training on random precisions a network in few bits does better than before."""
    torch.manual_seed(0)
    inputs = torch.randn(64, 3, 8, 8)
    labels = inputs.mean((2, 3)).argmax(1)
    net = nw.SuperNet(Menus().eval(), [], inputs[:2])
    net = net.with_axes(nw.Bits.of(net, ["uniform,weights=2", "float32"]))

    def loss() -> float:
        network = nw.recalibrate(net.extract(net.smallest), [inputs])
        with torch.no_grad():
            return float(nn.functional.cross_entropy(network(inputs), labels))

    before = loss()
    nw.train(net, [(inputs, labels)], rule=nw.rules.Sandwich(), optimizer="adam,lr=0.01", epochs=40)
    assert loss() < before - 0.1
