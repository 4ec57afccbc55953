"""Channels, heads and experts in falling order of importance, and the cut that keeps most of it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from small import criterion
from torch import Tensor, nn
from torch.nn import functional as F

from netwright.core.errors import NetError
from netwright.nets.axes import Axis, Depth, Experts, Heads, Width
from netwright.nets.importance import (
    CRITERIA,
    Activation,
    Importance,
    Taylor,
    Trajectory,
    prune_to_budget,
    sort_channels,
)
from netwright.nets.inputs import call, tensors_in
from netwright.nets.supernet import SuperNet


class Attention(nn.Module):
    """Four heads of queries over two of keys and values, two channels each."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = nn.Linear(6, 8), nn.Linear(6, 4), nn.Linear(6, 4)
        self.out = nn.Linear(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part(x).unflatten(-1, (-1, 2)).transpose(1, 2) for part in (self.query, self.key, self.value))
        return self.out(F.scaled_dot_product_attention(q, k, v, enable_gqa=True).transpose(1, 2).flatten(2))


class Mixture(nn.Module):
    """The mean of four experts, weighted by a router."""

    def __init__(self) -> None:
        super().__init__()
        self.router = nn.Linear(6, 4)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 6)) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        shares = self.router(x).softmax(-1)
        made = [e(x) for e in self.experts if not isinstance(e, nn.Identity)]
        return torch.stack([made[i] * shares[..., i, None] for i in range(shares.shape[-1])]).sum(0)


def heads() -> SuperNet:
    net = Attention()
    axis = Heads.of(net, "heads", (1, 2), size=2, query="query", key="key", value="value", out="out")
    return SuperNet(net, [axis], torch.randn(2, 3, 6))


def mixture() -> SuperNet:
    net = Mixture()
    return SuperNet(net, [Experts.of(net, "experts", (2, 4), router="router", experts="experts")], torch.randn(5, 6))


def chain(*sizes: int) -> nn.Sequential:
    """Linear layers without biases, all weights 1, rectified in between."""
    layers: list[nn.Module] = []
    for into, out in pairwise(sizes):
        layers += [nn.Linear(into, out, bias=False), nn.ReLU()]
        nn.init.ones_(layers[-2].weight)  # type: ignore[arg-type]
    return nn.Sequential(*layers[:-1])


def width(net: nn.Module, options: tuple[int, ...] = (1, 4), into: str = "2") -> SuperNet:
    return SuperNet(net, [Width.tie(net, "w", options, out_of=["0"], into=[into])], torch.ones(1, net[0].in_features))  # type: ignore[index, arg-type]


@pytest.fixture
def marked() -> tuple[nn.Sequential, SuperNet]:
    """Four channels that read inputs of their own; the first column of the layer behind says which is which."""
    net = chain(4, 4, 2)
    with torch.no_grad():
        net[0].weight.copy_(torch.eye(4))
    return net, width(net)


def same(one: Any, other: Any) -> None:
    for a, b in zip(tensors_in(one), tensors_in(other), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


# -- the function stays ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", CRITERIA.names())
@pytest.mark.parametrize("build", [heads, mixture])
def test_heads_and_experts_compute_what_they_computed(build: Any, by: Any) -> None:
    torch.manual_seed(1)
    net = build()
    x = torch.randn_like(net.example_inputs)
    before = net.module(x)
    tensors = {name: t.clone() for name, t in net.module.state_dict().items()}
    sort_channels(net, criterion(by, [x, -x]))
    same(net.module(x), before)
    if build is mixture:  # two heads may lie in order already
        assert any(not torch.equal(t, tensors[name]) for name, t in net.module.state_dict().items())


@pytest.mark.parametrize("by", CRITERIA.names())
@pytest.mark.parametrize("name", ["inverted_residual", "flat", "tied"])  # others give channels out
def test_every_super_network_computes_what_it_computed(make: Any, name: str, by: Any) -> None:
    case = make(name)
    module = case.net.module.eval()
    with torch.no_grad():
        before = call(module, case.inputs)
        worth = sort_channels(case.net, criterion(by, [(case.inputs, None)]))
        same(call(module, case.inputs), before)
    widths = {axis.name for axis in case.net.axes if isinstance(axis, Width)}
    assert worth.channels.keys() == widths
    for own in (each for several in worth.channels.values() for each in several):
        assert torch.all(own[:-1] >= own[1:])


@pytest.mark.parametrize("by", ["activation", "taylor", "trajectory"])
def test_nothing_else_is_changed(by: Any) -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2))
    net[2].bias.requires_grad_(False)
    net[1].eval()
    sort_channels(width(net), criterion(by, [torch.randn(5, 3)]))
    assert [m.training for m in net] == [True, False, True]
    assert [p.requires_grad for p in net.parameters()] == [True, True, True, False]
    assert all(p.grad is None for p in net.parameters())
    assert not any(m._forward_pre_hooks for m in net.modules())


# -- the order is right ----------------------------------------------------------------------------------------


def test_activation_is_what_arrives_times_what_reads_it(marked: Any) -> None:
    net, sup = marked
    with torch.no_grad():
        net[0].weight[3, 3] = 100.0  # the largest weight, and nothing arrives
        net[2].weight.copy_(torch.tensor([[1.0, 4.0, 2.0, 1.0], [0.0, 0.0, 0.0, 0.0]]))
    x = torch.tensor([[3.0, 1.0, 1.0, 0.0], [-9.0, 1.0, 1.0, 0.0]])  # what is negative does not arrive either
    worth = sort_channels(sup, Activation([(x, torch.zeros(2))])).channels["w"][0]
    assert net[2].weight[0].tolist() == [4.0, 1.0, 2.0, 1.0]
    squares = torch.tensor([4.0**2 * 2, 3.0**2, 2.0**2 * 2, 0.0], dtype=torch.float64)
    torch.testing.assert_close(worth, squares / squares.sum())
    sort_channels(sup, "l2")
    assert net[2].weight[0].tolist() == [1.0, 4.0, 2.0, 1.0], "weights alone rate the silent channel highest"


def test_taylor_is_what_reaches_the_output() -> None:
    net = chain(4, 4, 4, 1)
    with torch.no_grad():
        net[0].weight.copy_(torch.eye(4))
        net[2].weight.copy_(torch.diag(torch.tensor([5.0, 1.0, 1.0, 1.0])))
        net[4].weight.copy_(torch.tensor([[0.0, 2.0, 4.0, 3.0]]))  # nobody listens to the loudest
    sup = width(net)
    worth = sort_channels(sup, Taylor([torch.ones(3, 4), torch.full((2, 4), 2.0)])).channels["w"][0]
    assert (net[4].weight @ net[2].weight)[0].tolist() == [4.0, 3.0, 2.0, 0.0]
    torch.testing.assert_close(worth / worth[0], torch.tensor([16.0, 9.0, 4.0, 0.0], dtype=torch.float64) / 16)
    sort_channels(sup, Activation([torch.ones(3, 4)]))
    assert net[2].weight.amax(0)[0] == 5.0


def test_taylor_adds_up_what_all_readers_do() -> None:
    class Fork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.make = nn.Linear(3, 3, bias=False)
            self.plus, self.minus = nn.Linear(3, 1, bias=False), nn.Linear(3, 1, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            y = self.make(x)
            return self.plus(y) - self.minus(y)

    net = Fork()
    with torch.no_grad():
        net.make.weight.copy_(torch.eye(3))
        net.plus.weight.copy_(torch.tensor([[9.0, 5.0, 2.0]]))
        net.minus.weight.copy_(torch.tensor([[9.0, 4.0, 0.0]]))  # together: 0, 1, 2
    axis = Width.tie(net, "w", (1, 3), out_of=["make"], into=["plus", "minus"])
    sort_channels(SuperNet(net, [axis], torch.ones(1, 3)), Taylor([torch.rand(4, 3) + 1.0]))
    assert net.plus.weight.tolist() == [[2.0, 5.0, 9.0]]


def test_taylor_of_a_loss(marked: Any) -> None:
    net, sup = marked
    with torch.no_grad():
        net[2].weight.copy_(torch.tensor([[1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0]]))
    batch = (torch.ones(2, 4), torch.tensor([0, 1]))
    sort_channels(sup, Taylor([batch], loss=lambda output, _: output[:, 1].sum()))
    assert net[2].weight[0].tolist() == [1.0, 2.0, 3.0, 4.0]
    sort_channels(sup, Taylor([batch], loss=lambda output, given: output[given[1] == 0, 0].sum()))
    assert net[2].weight[0].tolist() == [4.0, 3.0, 2.0, 1.0]


@pytest.mark.parametrize("by", CRITERIA.names())
def test_a_head_that_nobody_reads_comes_last(by: Any) -> None:
    torch.manual_seed(0)
    net = heads()
    module: Any = net.module
    with torch.no_grad():
        module.out.weight[:, :4] *= 1e-3  # the query heads that share the first head of keys and values
        kept = module.value.weight[2:].clone()
    sort_channels(net, criterion(by, [torch.randn(4, 3, 6)]))
    assert torch.equal(module.value.weight[:2], kept)
    assert module.out.weight[:, 4:].abs().max() < 1e-3


@pytest.mark.parametrize("by", ["l1", "l2", "taylor", "trajectory"])
def test_an_expert_that_does_nothing_comes_last(by: Any) -> None:
    torch.manual_seed(0)
    net = mixture()
    module: Any = net.module
    with torch.no_grad():
        for part in module.experts[0]:
            if isinstance(part, nn.Linear):
                part.weight *= 1e-3
        module.router.weight[0] *= 1e-3
        module.router.bias.copy_(torch.tensor([-20.0, 0.1, 0.2, 0.3]))
    sort_channels(net, criterion(by, [torch.randn(16, 6)]))
    assert module.router.bias[3] == -20.0
    assert module.experts[3][0].weight.abs().max() < 1e-2


def test_a_width_that_no_layer_reads_is_judged_by_its_weights() -> None:
    net = nn.Sequential(nn.Linear(2, 3, bias=False), nn.Flatten())
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, 1.0], [3.0, 3.0], [2.0, 2.0]]))
    axis = Width.tie(net, "w", (1, 3), out_of=["0"])
    sort_channels(SuperNet(net, [axis], torch.ones(1, 2)), Taylor([torch.ones(1, 2)] * 50))
    assert net[0].weight[:, 0].tolist() == [3.0, 2.0, 1.0]


# -- the best cut ----------------------------------------------------------------------------------------------


def two() -> SuperNet:
    """Two widths of equal cost."""
    net = chain(4, 4, 4, 4, 4)
    axes: list[Axis] = [
        Width.tie(net, "a", (1, 2, 3, 4), out_of=["0"], into=["2"]),
        Width.tie(net, "b", (1, 2, 3, 4), out_of=["4"], into=["6"]),
    ]
    return SuperNet(net, axes, torch.ones(1, 4))


def test_the_best_cut_takes_what_is_worth_least() -> None:
    net = two()
    worth = Importance({"a": torch.tensor([0.97, 0.98, 0.99, 1.0]), "b": torch.tensor([0.3, 0.6, 0.8, 1.0])})
    assert net.count(net.largest).macs == 64
    assert dict(prune_to_budget(net, worth, "macs <= 64")) == {"a": 4, "b": 4}
    assert dict(prune_to_budget(net, worth, "macs <= 63")) == {"a": 3, "b": 4}
    assert dict(prune_to_budget(net, worth, "macs <= 40")) == {"a": 1, "b": 4}
    assert dict(prune_to_budget(net, worth, "macs <= 39")) == {"a": 1, "b": 3}
    assert dict(prune_to_budget(net, worth, "macs <= 16")) == {"a": 1, "b": 1}
    with pytest.raises(
        NetError,
        match=r"macs <= 15 cannot be kept: the nearest is 16, with a at 1, b at 1; no axis can go lower, and 'a' holds",
    ):
        prune_to_budget(net, worth, "macs <= 15")


def test_other_axes_stay_whole() -> None:
    net = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 4), nn.Linear(4, 4))
    axes: list[Axis] = [Depth("depth", ("2",), (0, 1)), Width.tie(net, "w", (2, 4, 8), out_of=["0"], into=["1"])]
    sup = SuperNet(net, axes, torch.ones(1, 4))
    assert dict(prune_to_budget(sup, sort_channels(sup), "macs <= 50")) == {"depth": 1, "w": 4}


@pytest.mark.parametrize("by", CRITERIA.names())
def test_a_network_without_widths_has_nothing_to_sort(by: str) -> None:
    class Residual(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return x + super().forward(x)

    net = SuperNet(
        nn.Sequential(Residual(4, 4), Residual(4, 4), nn.Linear(4, 2)), [Depth("depth", ("0", "1"), (1, 2))],
        torch.zeros(1, 4),
    )  # fmt: skip
    before = {name: t.clone() for name, t in net.module.state_dict().items()}
    sort_channels(net, criterion(by, [torch.randn(8, 4)]))
    assert all(torch.equal(t, before[name]) for name, t in net.module.state_dict().items())


def test_widths_within_experts_that_go() -> None:
    net = Mixture()
    axes: list[Axis] = [Experts.of(net, "experts", (1, 2, 4), router="router", experts="experts")]
    for i in range(4):
        axes.append(Width.tie(net, f"{i}", (1, 5), out_of=[f"experts.{i}.0"], into=[f"experts.{i}.2"]))
    sup = SuperNet(net, axes, torch.randn(1, 6))
    smallest = sup.count(sup.smallest).macs
    assert dict(prune_to_budget(sup, sort_channels(sup), f"macs <= {smallest}")) == dict(sup.smallest)


# -- mistakes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Activation, Taylor, Trajectory])
def test_data_that_are_missing(kind: Any) -> None:
    with pytest.raises(NetError, match=f"{kind.__name__} needs batches, a few of the training data"):
        kind([])
    with pytest.raises(NetError, match=f"{kind.__name__} takes batches, a list such as"):
        kind(torch.ones(3))
    with pytest.raises(NetError, match=rf"needs 'batches' as well: no text.*in Python it is {kind.__name__}\("):
        sort_channels(two(), kind.__name__.lower())


def test_a_name_that_does_not_exist() -> None:
    with pytest.raises(NetError, match="no importance criterion 'taylr'; did you mean 'taylor'"):
        sort_channels(two(), "taylr")


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor, scale: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(x * scale).relu())
        return out


@pytest.mark.parametrize("by", ["activation", "taylor", "trajectory"])
def test_batches_of_any_structure_tell_the_same(by: Any) -> None:
    x, scale, labels = torch.randn(5, 4), torch.rand(5, 4), torch.arange(5) % 2
    found = []
    for batch in ((x, scale), ((x, scale), labels), (x, scale, labels), {"x": x, "scale": scale, "labels": labels}):
        torch.manual_seed(0)
        net = TwoInputs()
        axis = Width.tie(net, "w", (4, 8), out_of=["body"], into=["head"])
        sort_channels(SuperNet(net, [axis], (x[:2], scale[:2])), criterion(by, [batch]))
        found.append(net.state_dict())
    for other in found[1:]:
        assert all(torch.equal(value, other[name]) for name, value in found[0].items())
