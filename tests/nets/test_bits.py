"""Bits: rounded layers, cut, counted, trained and calibrated."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import netwright as nw
from netwright.core.errors import NetError
from netwright.nets.precisions import PRECISIONS, Uniform
from netwright.nets.rounding import inputs_unrounded, precisions_of, roundings

TEXTS = ("binary", "int4", "ternary", "uniform,weights=2", "uniform,weights=3,activations=32", "int8", "float32")


class Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = nn.Conv2d(channels, channels, 3, padding=1, groups=2), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))))


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.blocks = nn.Conv2d(3, 8, 3, padding=1), nn.Sequential(Block(8), Block(8))
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


def small() -> nw.SuperNet:
    torch.manual_seed(0)
    return nw.SuperNet(Small().eval(), [], torch.randn(2, 3, 8, 8))


def elastic(options: tuple[str, ...] = ("int8", "float32"), **how: object) -> nw.SuperNet:
    """With widths, a depth and bits."""
    net = nw.wrap(small().module, torch.randn(2, 3, 8, 8), axes=["width", "depth"])
    return net.with_axes([*net.axes, *nw.Bits.of(net, options, **how)])


def test_the_first_and_the_last_layer_stay():
    axes = nw.Bits.of(small())
    assert [axis.layers for axis in axes] == [(f"blocks.{b}.conv{c}",) for b in (0, 1) for c in (1, 2)]


def test_layers_are_grouped():
    assert {axis.name: axis.layers for axis in nw.Bits.of(small(), by="block", keep=["head"])} == {
        "stem.bits": ("stem",),
        "blocks.0.bits": ("blocks.0.conv1", "blocks.0.conv2"),
        "blocks.1.bits": ("blocks.1.conv1", "blocks.1.conv2"),
    }
    assert [axis.name for axis in nw.Bits.of(small(), by="type", keep=())] == ["Conv2d.bits", "Linear.bits"]
    own = nw.Bits.of(small(), by={"all": ["blocks.0.conv1", "blocks.1.conv2"]})
    assert [(axis.name, axis.layers) for axis in own] == [("all.bits", ("blocks.0.conv1", "blocks.1.conv2"))]


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"by": "blok"}, "did you mean 'block'"),
        ({"by": {"all": ["blocks.0.conv3"]}}, "no layer that can be rounded"),
        ({"keep": ["blocks", "stem", "head"]}, "keep=() keeps none"),
        ({"by": {}}, "by= names no layer; name some of "),
        ({"by": {"all": ["stem"]}}, "or one that is kept in float32 (keep=() keeps none)"),
        ({"keep": ["blok"]}, "no module 'blok'"),
        ({"options": ("int8",)}, "the last is 'float32'"),
        ({"options": ("int9", "float32")}, "no precision 'int9'"),
        ({"options": ("uniform,weights=1", "float32")}, "2 to 8 bits"),
    ],
)
def test_mistakes_are_told(how, says):
    with pytest.raises(NetError, match=says.replace("(", r"\(").replace(")", r"\)")):
        nw.Bits.of(small(), **how)


def test_a_network_that_is_no_super_network_is_told():
    with pytest.raises(NetError, match=r"takes a super-network, not a Linear: nw\.SuperNet\("):
        nw.Bits.of(nn.Linear(2, 2))


def test_tied_weights_stay():
    module = small().module
    module.blocks[0].conv1.weight = module.blocks[1].conv1.weight
    axes = nw.Bits.of(nw.SuperNet(module, [], torch.randn(1, 3, 8, 8)))
    assert [axis.layers[0] for axis in axes] == ["blocks.0.conv2", "blocks.1.conv2"]


@pytest.mark.parametrize("text", TEXTS)
@given(seed=st.integers(0, 999), channels=st.integers(1, 5), scale=st.sampled_from([0.0, 1e-30, 1.0, 1e4]))
@settings(max_examples=20, deadline=None)
def test_what_is_rounded_stays(text, seed, channels, scale):
    """Few values for each channel, nothing of another sign, and rounded again they are the same."""
    weight = torch.randn(channels, 7, generator=torch.Generator().manual_seed(seed)) * scale
    precision = PRECISIONS.make(text)
    rounded = precision.round_weights(weight)
    assert torch.allclose(precision.round_weights(rounded), rounded, rtol=1e-6, atol=0)
    assert (rounded * weight >= 0).all() and rounded.isfinite().all()
    if precision.weights < 32:
        assert all(len(row.unique()) <= 2**precision.weights for row in rounded)  # 7 weights are one group


@given(seed=st.integers(0, 999), low=st.floats(-4, 0), width=st.floats(0.01, 8), bits=st.integers(2, 8))
@settings(max_examples=50, deadline=None)
def test_inputs_are_rounded_as_by_quantize_linear(seed, low, width, bits):
    values = torch.randn(2, 50, generator=torch.Generator().manual_seed(seed)) * 3
    least, most = torch.tensor(low), torch.tensor(low + width)
    rounded = Uniform(activations=bits).round_inputs(values, least, most)
    least, most = least.clamp(max=0), most.clamp(min=0)
    scale = (most - least) / (2**bits - 1)
    zero = int((-least / scale).round())
    wanted = torch.fake_quantize_per_tensor_affine(values, float(scale), zero, 0, 2**bits - 1)
    assert (rounded - wanted).abs().max() <= scale * 1.0001  # where a tie is decided by the last bit
    assert ((rounded - wanted).abs() > scale / 2).float().mean() < 0.03
    assert len(rounded.unique()) <= 2**bits and (rounded[values == 0] == 0).all()


def test_active_is_extracted_and_counted():
    net = elastic(("uniform,weights=2", "int8", "float32"), by="block")
    assert net.counts_fast
    rng, inputs = np.random.default_rng(0), torch.randn(3, 3, 8, 8)
    candidates = [net.smallest, net.largest, *(net.space.sample(rng) for _ in range(8))]
    for candidate, counts in zip(candidates, net.counts(candidates), strict=True):
        network = nw.recalibrate(net.extract(candidate), [inputs])
        extracted = net.extract(candidate)
        with torch.no_grad(), net.active(candidate) as module:
            assert torch.equal(module(inputs), extracted(inputs))
        again = nw.SuperNet(network, [], inputs[:2])
        assert again.count(again.largest).weight_bytes == counts.weight_bytes == net.count(candidate).weight_bytes
        assert again.count(again.largest).moved_bytes == counts.moved_bytes
        assert again.count(again.largest).bit_ops == counts.bit_ops == net._counter._trace(candidate).bit_ops


def test_bytes_are_those_of_the_bits():
    net = small()
    net = net.with_axes(nw.Bits.of(net, ("int8", "float32"), keep=()))
    layers = [axis.layers[0] for axis in net.axes]
    weights = sum(net.module.get_submodule(path).weight.numel() for path in layers)
    scales = sum(net.module.get_submodule(path).weight.shape[0] for path in layers)
    saved = net.count(net.largest).weight_bytes - net.count(net.smallest).weight_bytes
    assert saved == 3 * weights - 4 * scales


def test_bit_operations():
    net = small()
    net = net.with_axes(nw.Bits.of(net, ("uniform,weights=3,activations=4", "binary", "int8", "float32")))
    whole = net.count(net.largest)
    assert whole.bit_ops == 1024 * whole.macs
    macs = {1: 2 * 64 * 8 * 8 * 9, 2: 2 * 64 * 8 * 4 * 9}  # two images of 8 x 8
    for option, bits in (("int8", 64), ("binary", 32), ("uniform,weights=3,activations=4", 12)):
        for c, number in macs.items():
            found = net.count(net.largest_with({f"blocks.0.conv{c}.bits": option}))
            assert whole.bit_ops - found.bit_ops == (1024 - bits) * number
    assert nw.Count("bit_ops").values(net, [net.largest]) == [{"bit_ops": float(whole.bit_ops)}]


def test_a_hidden_layer_has_no_bits():
    net = elastic()
    hidden = net.space.build(lambda c: c.options[0])
    assert not any(name.startswith("blocks.1") and name.endswith("bits") for name in dict(hidden))


def test_gradients_go_straight_through():
    net = elastic(("binary", "uniform,weights=2,activations=4", "float32"))
    for candidate in (net.smallest, net.space.build(lambda c: c.options[len(c.options) // 2])):
        with net.active(candidate) as module:
            module.train()
            module(torch.randn(2, 3, 8, 8)).square().sum().backward()
        assert all(p.grad is not None for p in net.module.blocks[0].parameters())
        assert net.module.blocks[0].conv1.weight.grad.abs().sum() > 0


def test_training_follows_ranges_and_calibration_finds_them():
    net = elastic()
    network = net.extract(net.smallest)
    with torch.no_grad():
        network.train()(torch.randn(4, 3, 8, 8))
    assert all(own.high > own.low for own in roundings(network).values() if own.precision == "int8")
    seen = []
    layer = network.blocks[0].conv1
    inputs = torch.randn(16, 3, 8, 8)
    nw.recalibrate(network, [inputs[:8], inputs[8:]])
    layer.register_forward_pre_hook(lambda _, args: seen.append(args[0]), prepend=True)
    with torch.no_grad(), inputs_unrounded():
        network(inputs)
    own = layer.input_rounding
    assert float(own.high) == pytest.approx(float(seen[0].max()), rel=1e-5)
    assert float(own.low) == pytest.approx(min(0, float(seen[0].min())), rel=1e-5)


def test_calibration_inputs_that_are_not_finite_are_told():
    network = (net := elastic()).extract(net.smallest)
    with pytest.raises(NetError, match="not finite"):
        nw.recalibrate(network, [torch.full((2, 3, 8, 8), float("nan"))])


def test_a_network_carries_its_precisions():
    net = elastic(keep=("head", "stem", "blocks.1"))
    assert precisions_of(net.extract(net.smallest)) == {"blocks.0.conv1": "int8", "blocks.0.conv2": "int8"}
    assert set(precisions_of(net.extract(net.largest)).values()) == {"float32"}
    assert net.is_whole(net.largest) and not net.is_whole(net.smallest)
    bits = {axis.name: "int8" for axis in net.axes if isinstance(axis, nw.Bits)}
    assert net.is_whole(net.largest_with(bits)) and net.largest_with(bits) != net.largest


@pytest.mark.parametrize("text", ["uniform,weights=2", "int8"])
def test_a_rounded_network_is_finetuned_as_it_runs(text):
    """Each step has rounded weights, and so has what is left: the same that is judged meanwhile."""
    torch.manual_seed(0)
    net = elastic((text, "float32"), by="type", keep=())
    network = net.extract(net.largest_with({axis.name: text for axis in net.axes if isinstance(axis, nw.Bits)}))
    inputs, judged = torch.randn(32, 3, 8, 8), list[float]()
    targets = inputs.mean((1, 2)).argmax(1) % 4
    before = {name: p.detach().clone() for name, p in network.named_parameters()}

    def loss() -> float:
        with torch.no_grad():
            judged.append(float(nn.functional.cross_entropy(network.eval()(inputs), targets)))
        return judged[-1]

    nw.finetune(network, [(inputs, targets)], epochs=12, optimizer="sgd,lr=0.3", loss=loss, patience=12)
    moved = [name for name, p in network.named_parameters() if not torch.equal(p, before[name])]
    assert "blocks.0.conv1.weight" in moved and judged[-1] < judged[0]
    for path, own in roundings(network).items():
        weight = network.get_submodule(path).weight
        assert not own.moves and "weight" not in vars(network.get_submodule(path))
        assert torch.allclose(PRECISIONS.make(text).round_weights(weight), weight, rtol=1e-6)
    assert loss() == pytest.approx(min(judged), rel=1e-4)
