"""Weights of few bits chosen by what layers give."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import netwright as nw
from netwright.core.errors import NetError
from netwright.nets.gptq import DAMPING
from netwright.nets.precisions.even import Even
from netwright.nets.precisions.registry import precision_of

PRECISIONS = ("int8", "int4", "uniform,weights=3,activations=32", "uniform,weights=2,activations=32")


def net_of(model: nn.Module, inputs: Tensor, precision: str) -> nw.SuperNet:
    net = nw.SuperNet(model.eval(), [], inputs[:1])
    return net.with_axes(nw.Bits.of(net, [precision, "float32"], keep=()))


def correlated(count: int, *shape: int) -> Tensor:
    """Inputs whose channels go together, as those of real layers do."""
    torch.manual_seed(1)
    few = torch.randn(count, 3, *shape[1:])
    mix = torch.randn(shape[0], 3)
    return torch.einsum("cf,nf...->nc...", mix, few) + 0.1 * torch.randn(count, *shape)


def error(network: nn.Module, whole: nn.Module, inputs: Tensor) -> float:
    with torch.no_grad():
        return float((network(inputs) - whole(inputs)).square().mean())


class Columns(nn.Module):
    """A linear layer whose weight has the inputs first, as those of GPT-2."""

    def __init__(self) -> None:
        super().__init__()
        modeling = pytest.importorskip("transformers.pytorch_utils")
        self.layer = modeling.Conv1D(12, 16)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


LAYERS = {
    "linear": (lambda: nn.Linear(40, 12), (40,)),
    "linear on texts": (lambda: nn.Linear(16, 12, bias=False), (16, 5)),
    "convolution": (lambda: nn.Conv2d(8, 12, 3, stride=2, padding=1), (8, 9, 9)),
    "groups": (lambda: nn.Conv2d(8, 12, (3, 1), padding="same", groups=4, dilation=2), (8, 9, 9)),
    "reflected": (lambda: nn.Conv2d(8, 12, 3, padding=1, padding_mode="reflect"), (8, 9, 9)),
    "inputs first": (Columns, (16,)),
}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", LAYERS)
def test_layers_give_more_nearly_what_they_gave(name: str, precision: str) -> None:
    torch.manual_seed(0)
    build, shape = LAYERS[name]
    inputs = correlated(64, *shape)
    if name == "linear on texts":
        inputs = inputs.transpose(1, 2).contiguous()
    model: nn.Module = nn.Sequential(build())
    net = net_of(model, inputs, precision)
    whole, nearest = net.extract(net.largest), nw.recalibrate(net.extract(net.smallest), [inputs])
    network = nw.gptq(net, net.smallest, [inputs[:32], inputs[32:]])
    # of 8 bits the inputs' own rounding is most of the error
    assert error(network, whole, inputs) <= (1.05 if precision == "int8" else 0.95) * error(nearest, whole, inputs)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_is_rounded_is_found_again(precision: str) -> None:
    """A runtime that rounds to the nearest finds the very whole numbers."""
    inputs = correlated(32, 70)
    for seed in range(5):
        torch.manual_seed(seed)
        net = net_of(nn.Sequential(nn.Linear(70, 30), nn.ReLU(), nn.Linear(30, 5)), inputs, precision)
        network = nw.gptq(net, net.smallest, [inputs])
        for layer in (network[0], network[2]):  # type: ignore[index]
            weight, kind = layer.weight.detach(), precision_of(precision)
            assert isinstance(kind, Even)
            torch.testing.assert_close(kind.round_weights(weight), weight, rtol=1e-5, atol=0)
            numbers = (weight / kind.steps(weight)).round()
            assert kind.low <= int(numbers.min()) and int(numbers.max()) <= kind.high
        assert {n: p.shape for n, p in network.named_parameters()} == {
            n: p.shape for n, p in net.extract(net.smallest).named_parameters()
        }


def naive(rows: np.ndarray, step: np.ndarray, moments: np.ndarray, most: int) -> np.ndarray:
    """Optimal brain quantisation in the order of GPTQ, with the inverse found anew for what is left."""
    rows, made = rows.copy(), np.zeros_like(rows)
    order = list(np.argsort(-np.diag(moments), kind="stable"))
    held = np.abs(rows / step[:, None]) >= most - 1e-4
    first = rows.copy()
    while order:
        at, inverse = order[0], np.linalg.inv(moments[np.ix_(order, order)])
        own = np.clip(np.round(rows[:, at] / step), -most, most)
        made[:, at] = np.where(held[:, at], np.round(first[:, at] / step), own) * step
        rows[:, order] -= np.outer(rows[:, at] - made[:, at], inverse[0] / inverse[0, 0])
        order = order[1:]
    return made


def test_it_is_optimal_brain_quantisation() -> None:
    torch.manual_seed(3)
    inputs = correlated(50, 9)
    layer = nn.Linear(9, 6)
    net = net_of(nn.Sequential(layer), inputs, "uniform,weights=3,activations=32")
    found = nw.gptq(net, net.smallest, [inputs])[0].weight.detach().numpy()  # type: ignore[index, union-attr]
    moments = (inputs.T @ inputs).double().numpy()
    moments += DAMPING * np.diag(moments).mean() * np.eye(9)
    rows = layer.weight.detach().double().numpy()
    np.testing.assert_allclose(found, naive(rows, np.abs(rows).max(1) / 3, moments, 3), rtol=1e-4, atol=1e-6)


def test_other_precisions_and_layers_stay_rounded_to_the_nearest() -> None:
    inputs = correlated(16, 4, 8, 8)
    model = nn.Sequential(nn.ConvTranspose2d(4, 6, 3), nn.Conv2d(6, 4, 3))
    net = net_of(model, inputs, "ternary")
    network, nearest = nw.gptq(net, net.smallest, [inputs]), net.extract(net.smallest)
    for mine, theirs in zip(network.parameters(), nearest.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_weights_of_the_super_network_stay() -> None:
    inputs = correlated(16, 6)
    net = net_of(nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 2)), inputs, "int4")
    before = {name: p.clone() for name, p in net.module.named_parameters()}
    nw.gptq(net, net.smallest, [(inputs, torch.zeros(16))])
    for name, p in net.module.named_parameters():
        assert torch.equal(p, before[name])


def test_what_cannot_be_rounded_is_said() -> None:
    inputs = correlated(16, 6)
    net = net_of(nn.Sequential(nn.Linear(6, 2)), inputs, "int4")
    with pytest.raises(NetError, match=r"no layer of .* has few bits"):
        nw.gptq(net, net.largest, [inputs])
    with pytest.raises(NetError, match="not finite"):
        nw.gptq(net, net.smallest, [inputs * float("nan")])
    with pytest.raises(NetError, match="batches"):
        nw.gptq(net, net.smallest, [])


def test_a_layer_of_a_class_of_its_own_that_never_runs_is_left() -> None:
    class Unused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.other = nn.Linear(6, 6), nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            return self.other(x) if x.shape[1] != 6 else self.used(x)

    inputs = correlated(16, 6)
    net = net_of(Unused(), inputs, "int4")
    assert nw.gptq(net, net.smallest, [inputs])(inputs).shape == (16, 6)


class Chain(nn.Module):
    """Layers behind one another, one of which may run twice."""

    def __init__(self, turns: int) -> None:
        super().__init__()
        self.one, self.two, self.turns = nn.Linear(12, 12), nn.Linear(12, 12), turns

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.turns):
            x = self.one(x).relu()
        return self.two(x)


@pytest.mark.parametrize("turns", [1, 2])
def test_batches_together_give_what_they_give_one_by_one(turns: int) -> None:
    """Batches that cannot be joined, of other lengths, take a run for each layer."""
    torch.manual_seed(0)
    inputs = correlated(48, 12, 4).transpose(1, 2).contiguous()
    found = []
    for batches in (
        [inputs],
        [inputs[:16], inputs[16:]],
        [inputs[:24].reshape(48, 2, 12), inputs[24:].reshape(16, 6, 12)],
    ):
        torch.manual_seed(0)
        net = net_of(Chain(turns), inputs, "int4")
        found.append(nw.gptq(net, net.smallest, batches))
    for other in found[1:]:
        for mine, theirs in zip(found[0].parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(mine, theirs)


def test_later_layers_make_up_for_earlier_ones() -> None:
    """A layer is rounded for the inputs that the layers before it give once they are rounded themselves."""
    torch.manual_seed(2)
    inputs = correlated(64, 12)
    net = net_of(Chain(1), inputs, "uniform,weights=2,activations=32")
    network: nn.Module = nw.gptq(net, net.smallest, [inputs])
    with torch.no_grad():
        given = network.get_submodule("one")(inputs).relu()
    alone = nn.Sequential(net.module.get_submodule("two"))
    other = nw.SuperNet(alone, [], given[:1])
    other = other.with_axes(nw.Bits.of(other, ["uniform,weights=2,activations=32", "float32"], keep=()))
    again = nw.gptq(other, other.smallest, [given])
    torch.testing.assert_close(again[0].weight, network.get_submodule("two").weight)  # type: ignore[index, union-attr]
